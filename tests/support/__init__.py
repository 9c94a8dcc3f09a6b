"""What several tests share: small studies, example tables, waves."""

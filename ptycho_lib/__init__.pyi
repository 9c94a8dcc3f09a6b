from . import application, data, evaluation, iterative, networks, physics, report, study
from .application.network import TrainedNetwork, load_model
from .application.scan_reconstruction import ScanReconstruction
from .config import StudyConfig, load_config
from .data.check.file import check_file
from .data.dataset import PtychoDataset, load_dataset, save_dataset
from .data.prepare.pipeline import prepare
from .data.readers import open_dataset
from .data.simulation.study import simulate_study
from .errors import InputError, Problem
from .evaluation.comparison import compare_objects
from .evaluation.reconstruction import Reconstruction, reconstruct
from .networks.prediction import predict_patches
from .networks.training import train_model
from .report.output.loaded_study import LoadedStudy, load_study
from .study.selection import training_subset

__version__: str
__all__ = [
    "InputError",
    "LoadedStudy",
    "Problem",
    "PtychoDataset",
    "Reconstruction",
    "ScanReconstruction",
    "StudyConfig",
    "TrainedNetwork",
    "application",
    "check_file",
    "compare_objects",
    "data",
    "evaluation",
    "iterative",
    "load_config",
    "load_dataset",
    "load_model",
    "load_study",
    "networks",
    "open_dataset",
    "physics",
    "predict_patches",
    "prepare",
    "reconstruct",
    "report",
    "save_dataset",
    "simulate_study",
    "study",
    "train_model",
    "training_subset",
]

"""What is different about MLflow in a job: rank 0 alone autologs and logs models; requirements are not tried out.

MLflow has no settings for either. The functions that are changed here were seen to be the same from 2.9 to 3.17; the
tests run jobs with one client of each major version.
"""

# MLflow has no public way in.
# ruff: noqa: SLF001

import logging
import os
import sys

#: Those that log a training: parameters, metrics, models. The others trace calls, which each rank has its own of.
TRAINING = {
    *("fastai", "keras", "lightgbm", "paddle", "pyspark.ml", "pytorch", "setfit", "sklearn", "statsmodels"),
    *("tensorflow", "transformers", "xgboost"),
}
RUN = os.environ.get("MLFLOW_RUN_ID")  # read now: MLflow takes it away when the run is joined


def rank():
    """The number of this process among those that the job trains with.

    Those that the job's own launcher (torchrun) started are told by the launcher, which says of how many too.
    """
    try:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            return int(os.environ["RANK"])
        return int(os.environ.get("ULTRAMARINE_RANK", "0"))
    except (KeyError, ValueError):
        return 0


def change(module):
    """Change one of MLflow's modules, just imported."""
    if module.__name__ == "mlflow.utils.requirements_utils":
        _take_imports_of_the_script(module)
    elif rank() != 0 and module.__name__ == "mlflow.utils.autologging_utils":
        _disable_training(module)
    elif rank() != 0 and module.__name__ == "mlflow.models.model":
        _log_no_model(module)


def _disable_training(module):
    is_disabled = module.autologging_is_disabled

    def autologging_is_disabled(integration_name):
        return integration_name in TRAINING or is_disabled(integration_name)

    module.autologging_is_disabled = autologging_is_disabled


def _log_no_model(module):
    def log(cls, *positional, **named):
        name = named.get("name") or named.get("artifact_path") or (positional[0] if positional else None) or "model"
        logging.getLogger("mlflow").info("Rank %s logs no model: rank 0 of this job does.", rank())
        return cls(artifact_path=name, run_id=RUN).get_model_info()

    module.Model.log = classmethod(log)


def _take_imports_of_the_script(module):
    """MLflow loads each model in a second Python to see what it imports, which takes longer than many a training.

    What the job's own code has imported tells the same, at once. A job's lock has the rest.
    """
    try_out = module._capture_imported_modules

    def _capture_imported_modules(model_uri, flavor, record_full_module=False, **more):
        if record_full_module:
            return try_out(model_uri, flavor, record_full_module=True, **more)
        return sorted(_imported_by(own_modules()))

    module._capture_imported_modules = _capture_imported_modules


def own_modules():
    """The script, and the modules that lie beside it or below the working directory."""
    main = sys.modules.get("__main__")
    beside = os.path.dirname(os.path.abspath(getattr(main, "__file__", None) or "."))
    roots = tuple(os.path.join(root, "") for root in {beside, os.getcwd()})
    found = [main] if main else []
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.startswith(roots) and "site-packages" not in file:
            found.append(module)
    return found


def _imported_by(modules):
    """The top-level names of what these modules hold that comes from elsewhere."""
    names = set()
    for module in modules:
        for value in list(vars(module).values()):
            name = value.__name__ if isinstance(value, type(sys)) else getattr(value, "__module__", None)
            if isinstance(name, str):
                names.add(name.partition(".")[0])
    return names

"""Trains scikit-learn models of many kinds on its own data and saves them as MLflow models, some rows beside each.

Run in the models' environment.
"""

# The libraries are those of the models' environment, which the checker does not see.
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

import json
import sys
from pathlib import Path

import mlflow
import numpy
from mlflow.models import infer_signature
from sklearn import datasets, ensemble, linear_model, neural_network, pipeline, preprocessing, tree
from sklearn.impute import SimpleImputer

FIXED = {"random_state": 0}


def main(folder: Path) -> None:
    cancer, tumour = datasets.load_breast_cancer(return_X_y=True, as_frame=True)
    flowers, kind = datasets.load_iris(return_X_y=True, as_frame=True)
    names = numpy.array(["setosa", "versicolor", "virginica"])[kind]
    diabetes, progress = datasets.load_diabetes(return_X_y=True, as_frame=True)
    pixels, digit = datasets.load_digits(return_X_y=True)
    whole = flowers.assign(**{"petal width (cm)": (flowers["petal width (cm)"] * 10).astype(int)})
    holes = diabetes.mask(numpy.random.default_rng(0).random(diabetes.shape) < 0.1)
    scaled = preprocessing.StandardScaler
    logistic = linear_model.LogisticRegression(max_iter=500)
    made = {
        "cancer_forest": (ensemble.RandomForestClassifier(100, **FIXED), cancer, tumour, "predict"),
        "cancer_shallow": (ensemble.RandomForestClassifier(50, max_depth=4, **FIXED), cancer, tumour, "predict"),
        "cancer_shares": (ensemble.RandomForestClassifier(20, max_depth=5, **FIXED), cancer, tumour, "predict_proba"),
        "cancer_linear": (pipeline.make_pipeline(scaled(), logistic), cancer, tumour, "predict"),
        "cancer_odds": (pipeline.make_pipeline(scaled(), logistic), cancer, tumour, "predict_proba"),
        "iris_named": (pipeline.make_pipeline(preprocessing.MinMaxScaler(), logistic), flowers, names, "predict"),
        "iris_odds": (pipeline.make_pipeline(preprocessing.RobustScaler(), logistic), flowers, names, "predict_proba"),
        "iris_whole": (tree.DecisionTreeClassifier(min_samples_leaf=5), whole, names, "predict"),
        "iris_ridge": (linear_model.RidgeClassifier(), flowers, names.astype(object), "predict"),
        "digits_extra": (ensemble.ExtraTreesClassifier(20, min_samples_leaf=3, **FIXED), pixels, digit, "predict"),
        "digits_network": (neural_network.MLPClassifier((20,), max_iter=60, **FIXED), pixels, digit, "predict"),
        "diabetes_forest": (ensemble.RandomForestRegressor(40, **FIXED), diabetes, progress, "predict"),
        "diabetes_two": (
            ensemble.ExtraTreesRegressor(10, **FIXED),
            diabetes,
            numpy.stack([progress, progress**2], axis=1),
            "predict",
        ),
        "diabetes_ridge": (pipeline.make_pipeline(scaled(), linear_model.Ridge()), diabetes, progress, "predict"),
        "diabetes_network": (
            pipeline.make_pipeline(
                scaled(), neural_network.MLPRegressor(hidden_layer_sizes=(8,), max_iter=80, **FIXED)
            ),
            diabetes,
            progress,
            "predict",
        ),
        "diabetes_holes": (
            pipeline.make_pipeline(SimpleImputer(), ensemble.RandomForestRegressor(5, **FIXED)),
            holes,
            progress,
            "predict",
        ),
        "diabetes_boosted": (
            ensemble.GradientBoostingRegressor(n_estimators=60, subsample=0.7, **FIXED),
            diabetes,
            progress,
            "predict",
        ),
        "diabetes_quantile": (
            ensemble.GradientBoostingRegressor(loss="quantile", alpha=0.9, init="zero", n_estimators=20, **FIXED),
            diabetes,
            progress,
            "predict",
        ),
        "cancer_boosted": (ensemble.GradientBoostingClassifier(n_estimators=40, **FIXED), cancer, tumour, "predict"),
        "cancer_boosted_odds": (
            ensemble.GradientBoostingClassifier(loss="exponential", n_estimators=20, **FIXED),
            cancer,
            tumour,
            "predict_proba",
        ),
        "iris_boosted": (
            pipeline.make_pipeline(scaled(), ensemble.GradientBoostingClassifier(n_estimators=15, **FIXED)),
            flowers,
            names,
            "predict",
        ),
        "iris_boosted_odds": (
            ensemble.GradientBoostingClassifier(init="zero", n_estimators=10, max_depth=2, **FIXED),
            flowers,
            names,
            "predict_proba",
        ),
        "diabetes_histogram": (ensemble.HistGradientBoostingRegressor(max_iter=5), diabetes, progress, "predict"),
    }
    for name, (model, rows, target, wanted) in made.items():
        model.fit(rows, target)
        mlflow.sklearn.save_model(
            model,
            folder / name,
            serialization_format="cloudpickle",
            signature=infer_signature(rows, getattr(model, wanted)(rows)),
            pyfunc_predict_fn=wanted,
            pip_requirements=["scikit-learn"],
        )
        is_frame = hasattr(rows, "columns")
        plain = rows.astype(object).to_numpy().tolist() if is_frame else rows.tolist()
        data = {"columns": list(rows.columns) if is_frame else None, "rows": plain, "wanted": wanted}
        (folder / name / "data.json").write_text(json.dumps(data))


main(Path(sys.argv[1]))

"""The simple models that a model has to beat, untrained."""

from __future__ import annotations

from typing import Any

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

__all__ = ["market_regression", "text_classifier"]


def text_classifier(seed: int) -> Any:
    """LinearSVC, for `TextFeatures`."""
    return LinearSVC(C=0.1, tol=1e-3, random_state=seed)


def market_regression() -> Any:
    """Logistic regression on standardised columns, for `market_features`."""
    return make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky"))

"""Tell which digit an image shows, by the model that train.py saved."""

import json
import os
import pathlib

import joblib


def init():
    """Called once, before the first request."""
    global classifier
    models = pathlib.Path(os.environ["AZUREML_MODEL_DIR"])
    classifier = joblib.load(next(models.rglob("model.pkl")))


def run(raw_data):
    """Called for each request: {"data": [[64 pixels of 0 to 16], …]} is answered with a digit for each image."""
    images = json.loads(raw_data)["data"]
    return classifier.predict(images).tolist()

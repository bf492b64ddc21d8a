"""Train a classifier on scikit-learn's 1,797 handwritten digits and save it."""

import argparse
import json
import os
import pathlib

import joblib
from sklearn import datasets, metrics, model_selection, svm


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gamma", type=float, required=True, help="kernel coefficient of the support vector machine")
    parser.add_argument("--test-share", type=float, required=True, help="share of the images kept back for the test")
    parser.add_argument("--model", type=pathlib.Path, required=True, help="folder that receives the model")
    args = parser.parse_args()

    digits = datasets.load_digits()
    print(f"{len(digits.images)} images of {digits.images[0].shape} pixels, {len(digits.target_names)} classes", flush=True)
    pixels = digits.images.reshape(len(digits.images), -1)
    train_x, test_x, train_y, test_y = model_selection.train_test_split(
        pixels, digits.target, test_size=args.test_share, random_state=0, stratify=digits.target
    )

    print(f"training on {len(train_x)} images, gamma={args.gamma}", flush=True)
    classifier = svm.SVC(gamma=args.gamma).fit(train_x, train_y)
    predicted = classifier.predict(test_x)
    accuracy = metrics.accuracy_score(test_y, predicted)
    print(metrics.classification_report(test_y, predicted, digits=3))
    print(f"accuracy on {len(test_x)} images kept back: {accuracy:.4f}", flush=True)

    args.model.mkdir(parents=True, exist_ok=True)
    joblib.dump(classifier, args.model / "model.pkl")
    os.makedirs("outputs", exist_ok=True)
    summary = {"accuracy": accuracy, "train_images": len(train_x), "test_images": len(test_x), "gamma": args.gamma}
    with open("outputs/metrics.json", "w", encoding="utf-8") as out:
        json.dump(summary, out, indent=2)


if __name__ == "__main__":
    main()

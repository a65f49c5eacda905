"""Reads OpenMetrics from a file as Prometheus' own parser for Python does, which refuses what the specification
forbids, and tells the exemplars of the metric that is named, as JSON: labels of the series, labels, value, time.

usage: openmetrics.py METRIC FILE
"""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

exemplars = []
for family in text_string_to_metric_families(open(sys.argv[2], encoding="utf-8").read()):
    for sample in family.samples:
        if sample.exemplar and family.name == sys.argv[1]:
            exemplar = sample.exemplar
            exemplars.append([sample.labels, exemplar.labels, exemplar.value, float(exemplar.timestamp)])
print(json.dumps(exemplars))

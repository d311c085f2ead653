"""Tables in, batches out."""

from .batch import Batch, Batches, Inputs, Window
from .batches import ResidentBatches
from .encode import FeatureEncoder
from .finding import Finding
from .findings import find_problems
from .forms import Form, LongForm, WideForm, form_from_json
from .loader import LoaderBatches
from .parse import label_values
from .read import as_frame, read_table
from .schema import ColumnKind, ColumnSchema, TableSchema, infer_schema, schema_from_json
from .split import Split, split_table
from .targets import encode_targets, fit_tasks, read_weights

__all__ = [
    "Batch",
    "Batches",
    "ColumnKind",
    "ColumnSchema",
    "FeatureEncoder",
    "Finding",
    "Form",
    "Inputs",
    "LoaderBatches",
    "LongForm",
    "ResidentBatches",
    "Split",
    "TableSchema",
    "WideForm",
    "Window",
    "as_frame",
    "encode_targets",
    "find_problems",
    "fit_tasks",
    "form_from_json",
    "infer_schema",
    "label_values",
    "read_table",
    "read_weights",
    "schema_from_json",
    "split_table",
]

"""What of Istio's API the lab serves: resource definitions, and the rules that Istio's webhook checks."""

from meshbdd.lab.admission.definitions import crds, definition_of
from meshbdd.lab.admission.lacking import LACKING
from meshbdd.lab.admission.webhook import Admission, admission_hook, admit, unknown_fields

__all__ = ["LACKING", "Admission", "admission_hook", "admit", "crds", "definition_of", "unknown_fields"]

"""scriptorium: writes the sequenced operations of collaborative documents to a MongoDB collection.

python -m sdk_python.serve scriptorium examples.scriptorium --set url=mongodb://127.0.0.1:27017

README.md says what it does, rules.md has the rules of the service on which it is modelled.
"""

from examples.scriptorium.scriptorium import ScriptoriumPlugin

plugin = ScriptoriumPlugin()

__all__ = ["ScriptoriumPlugin", "plugin"]

"""scriptorium: writes the sequenced operations of collaborative documents to a MongoDB collection.

python -m sdk_python.serve scriptorium examples.scriptorium --set url=mongodb://127.0.0.1:27017

README.md says what it does, rules.md what it is modelled on.
"""

from examples.scriptorium.scriptorium import ScriptoriumPlugin

plugin = ScriptoriumPlugin()

__all__ = ["ScriptoriumPlugin", "plugin"]

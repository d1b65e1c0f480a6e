"""Small experiments that show one phenomenon each, with a prediction, controls and several seeds; built on demand."""

"""How to find four bits: flowvox's methods and other people's tools on the same weights."""

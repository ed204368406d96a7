"""meshbdd: what a system of microservices must survive, in plain Gherkin, proved on a real service mesh."""

__version__ = "0.1.0"

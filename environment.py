from meshbdd.hooks import *

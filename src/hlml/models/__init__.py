"""Models: scores out of inputs. They know nothing of losses."""

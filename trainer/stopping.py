"""Stub until O lands."""


class EarlyStopping:
    should_stop = False

    def __init__(self, p):
        pass

    def update(self, epoch, logs):
        pass

    def state(self):
        return {}

    def restore(self, d):
        pass

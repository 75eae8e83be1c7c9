"""Hosts that gRPC reaches directly are added to those that the environment names."""

import os

import pytest

from multihot import proxies


@pytest.mark.parametrize(
    ("environment", "hosts", "expected"),
    [
        ({}, [], "localhost,127.0.0.1,::1"),
        ({}, ["host0", "[fd00::1]", "localhost"], "localhost,127.0.0.1,::1,host0,fd00::1"),
        ({"no_proxy": "a.com, .b.com,"}, ["host0"], "a.com,.b.com,localhost,127.0.0.1,::1,host0"),
        # It takes the place of no_proxy.
        ({"no_proxy": "a.com", "no_grpc_proxy": "c.com"}, [], "c.com,localhost,127.0.0.1,::1"),
        ({"grpc_proxy": "http://proxy:1"}, ["host0"], "localhost,127.0.0.1,::1"),
    ],
)
def test_hosts_are_added(
    environment: dict[str, str], hosts: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "no_grpc_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, environment.get(name, ""))
        if name not in environment:
            monkeypatch.delenv(name)
    for _ in range(2):
        proxies.avoid(hosts)
        assert {**os.environ}["no_grpc_proxy"] == expected

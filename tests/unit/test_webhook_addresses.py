"""Which addresses a webhook may reach, in all the ways to write them."""

from ipaddress import ip_address, ip_network

import pytest

from app.errors import SetupError
from app.webhooks.addresses import check_url, parse_networks, permitted

OFFICE = (ip_network("10.0.5.0/24"),)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are_permitted(address: str) -> None:
    assert permitted(ip_address(address), ())


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.5.7",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "239.255.255.250",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:10.0.5.7",
        "64:ff9b::a00:507",
        "2002:a00:507::",
        "fec0::1",
        "64:ff9b:1::a00:1",
        "::ffff:0:10.0.0.1",
        "::10.0.0.1",
        "168.63.129.16",
    ],
)
def test_private_addresses_are_not(address: str) -> None:
    assert not permitted(ip_address(address), ())


def test_a_named_network_is_permitted_and_no_other() -> None:
    assert permitted(ip_address("10.0.5.7"), OFFICE)
    assert permitted(ip_address("::ffff:10.0.5.7"), OFFICE)
    assert not permitted(ip_address("10.0.6.7"), OFFICE)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",  # not encrypted
        "http://93.184.216.34/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org/",
        "https://",
        "https:///path",
        "https://example.org:0/",
        "https://a..example/",
        "https://münchen.example/",
        "https://" + "a" * 64 + ".example/",
        "https://example.org:99999/",
        "https://user:hush@example.org/",
        "https://example.org/#part",
        "https://example.org/a b",
        "https://example.org/\n",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://192.168.1.1/",
        "https://example.org/" + "a" * 3000,
    ],
)
def test_addresses_that_could_never_be_delivered_to_are_refused(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_url(url, ())
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://example.org/hook", "https://10.0.5.7/", "http://10.0.5.7:8080/hook?x=1"])
def test_good_addresses_pass(url: str) -> None:
    check_url(url, OFFICE)


def test_networks_are_read_from_a_list() -> None:
    assert parse_networks("10.0.5.0/24, fd00::/8") == (ip_network("10.0.5.0/24"), ip_network("fd00::/8"))
    assert parse_networks("") == ()
    with pytest.raises(SetupError, match="CARDEA_WEBHOOK_NETWORKS"):
        parse_networks("the office")

"""Checks of the hosts that may receive a key, and of the proxies on the path to them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from phi2sdk.errors import ConfigurationError
from phi2sdk.secret import Secret
from phi2sdk.text import untrusted

__all__ = ["check_endpoint", "is_loopback", "origin", "proxy_for", "revealed"]

_PORTS: Mapping[str, int] = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_.-]+|\[[0-9a-f:.]+\]")


def check_endpoint(url: str, provider: str, insecure_hosts: tuple[str, ...] = ()) -> str:
    """Return ``url`` without surrounding white space and trailing slash, if it may receive a key.

    Raises:
        ConfigurationError: It is not an http(s) URL, contains credentials, a query or a fragment,
            or has plain http to a host that is neither loopback nor named in ``insecure_hosts``.
    """
    url = str(url).strip()
    parts = _split(url)
    host = (parts.hostname or "") if parts else ""
    if parts is not None and "@" in parts.netloc:
        problem = "the endpoint contains a user or password. Put the key into the setting api_key"
    elif parts is None or parts.scheme not in ("http", "https") or not host:
        problem = f"the endpoint {untrusted(url)!r} is not a URL. Write it as https://host/path"
    elif parts.query or parts.fragment:
        problem = f"the endpoint contains a '?' or '#'. Use {url.split('?')[0]}"
    elif parts.scheme == "http" and not is_loopback(host) and host not in insecure_hosts:
        problem = (
            f"plain http to {host} would send the key unencrypted. Use https, or name the host in "
            f"insecure_hosts if you trust the network"
        )
    else:
        return url.rstrip("/")
    raise ConfigurationError(problem, provider=provider)


def origin(address: object) -> str | None:
    """Return scheme, host and port of a URL, the usual port left out.

    ``None`` where ``address`` is not an http(s) URL, or its host has characters that HTTP clients
    could read in different ways.

    >>> origin("https://Example.com:443/v1")
    'https://example.com'
    """
    parts = _split(address.strip()) if isinstance(address, str) else None
    if parts is None or parts.scheme not in _PORTS or "@" in parts.netloc:
        return None
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    if not _HOST.fullmatch(host):
        return None
    port = "" if parts.port in (None, _PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is the loopback of this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_for(url: str) -> Secret | None:
    """Return the proxy of the environment for a URL; ``None`` for none, and for loopback.

    The address may contain a password, so it is a secret.

    Raises:
        ConfigurationError: The kind of the proxy is not supported.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or proxy_bypass(parts.netloc):
        return None
    proxy = _proxy(parts.scheme)
    kind = proxy.reveal().partition("://")[0]
    if proxy and kind not in ("http", "https"):
        raise ConfigurationError(
            f"the environment sets a {kind} proxy for {host}, but only http and https proxies are "
            "supported. Set HTTPS_PROXY to one of them, or name the host in NO_PROXY"
        )
    return proxy or None


def revealed(headers: Mapping[str, str | Secret]) -> dict[str, str]:
    """Return headers with their secrets in plain text, to be sent.

    Raises:
        ConfigurationError: A header cannot have a value, such as a key with a line break.
    """
    values = {n: v.reveal() if isinstance(v, Secret) else v for n, v in headers.items()}
    for name, value in values.items():
        if not (value.isascii() and value.isprintable()):
            raise ConfigurationError(
                f"the value of the header {name} contains a line break or a character beyond "
                "ASCII. Check the key"
            )
    return values


def _proxy(scheme: str) -> Secret:
    """Return the proxy of the environment, with a scheme; an empty one for none."""
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all") or ""
    return Secret(proxy if "://" in proxy or not proxy else f"http://{proxy}")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if it is not a port
    except ValueError:
        return None
    return parts if parts.netloc.isprintable() and " " not in parts.netloc else None

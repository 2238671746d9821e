//! Where the server listens, as `server_address` says it.

use std::{fmt, path::PathBuf, str::FromStr};

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAddress {
    /// Its private Unix socket: plaintext, and every caller may do everything.
    Unix(PathBuf),
    /// One or several names or addresses with ports, of one server or of several that share a database.
    Tcp(Vec<HostPort>),
}

/// A name or an IP address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A DNS name, or an IP address without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

/// Why an address is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address of a SPIRE Server: {1}")]
pub struct AddressError(String, &'static str);

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.is_empty() {
                true => Err(AddressError(text.into(), "after unix:// stands a path")),
                false => Ok(ServerAddress::Unix(path.into())),
            };
        }
        let parts = text.split(',').map(|part| {
            let part = part.trim();
            part.strip_prefix("dns:///").unwrap_or(part).parse()
        });
        Ok(ServerAddress::Tcp(parts.collect::<Result<_, _>>()?))
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |why| AddressError(text.to_owned(), why);
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| wrong("it has no port; write host:port, or unix:///path"))?;
        let port = port
            .parse()
            .ok()
            .filter(|p| *p != 0)
            .ok_or_else(|| wrong("after the colon stands a port of 1 to 65535"))?;
        let host = match host.strip_prefix('[').map(|h| h.strip_suffix(']')) {
            Some(inner) => inner
                .filter(|h| h.parse::<std::net::Ipv6Addr>().is_ok())
                .ok_or_else(|| wrong("between brackets stands an IPv6 address"))?,
            None if host.contains(':') => {
                return Err(wrong("an IPv6 address stands between brackets"));
            }
            None => host,
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if host.is_empty() || !host.chars().all(legal) {
            return Err(wrong("the host is neither a DNS name nor an IP address"));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerAddress::Unix(path) => write!(f, "unix://{}", path.display()),
            ServerAddress::Tcp(targets) => {
                let shown: Vec<String> = targets.iter().map(ToString::to_string).collect();
                f.write_str(&shown.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_written() {
        for (text, shown) in [
            ("unix:///run/api.sock", "unix:///run/api.sock"),
            ("spire-server:8081", "spire-server:8081"),
            ("dns:///spire-server:8081", "spire-server:8081"),
            (
                "10.0.0.1:8081, 10.0.0.2:8081",
                "10.0.0.1:8081,10.0.0.2:8081",
            ),
            ("[fd00::1]:8081", "[fd00::1]:8081"),
        ] {
            let read: ServerAddress = text.parse().expect(text);
            assert_eq!(read.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_reason() {
        for (text, why) in [
            ("", "no port"),
            ("unix://", "path"),
            ("spire-server", "no port"),
            ("spire-server:", "port of 1"),
            ("spire-server:0", "port of 1"),
            ("spire-server:70000", "port of 1"),
            (":8081", "neither"),
            ("https://spire-server:8081", "brackets"),
            ("fd00::1:8081", "brackets"),
            ("[spire]:8081", "IPv6"),
            ("a b:1", "neither"),
            ("a:1,", "no port"),
        ] {
            let error = text.parse::<ServerAddress>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}

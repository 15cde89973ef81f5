//! What protects the sessions with a `BGPPeer`.

use std::path::PathBuf;
use std::sync::Arc;

use brindle_api::{
    BgpBfd, BgpMaxPrefixes, BgpMaxPrefixesOut, BgpPassword, BgpPeerSpec, Duration, SecretKeyRef,
};
use brindle_model::routing::{
    Bfd, Hops, MaxPrefixes, MaxPrefixesOut, PasswordSource, PeerSettings, Role,
};

use crate::problem::Problems;
use crate::validate::is_dns_subdomain;

/// Converts everything about a neighbour but who it is; `None` if any of it is broken, since a
/// session with half of its protection is not what was asked for.
pub(super) fn settings(spec: &BgpPeerSpec, problems: &mut Problems) -> Option<PeerSettings> {
    let hops = hops(spec, problems);
    let password = match &spec.password {
        Some(password) => self::password(password, problems).map(Some),
        None => Some(None),
    };
    let before = problems.errors();
    let shutdown = spec.shutdown.as_deref().map(|words| shutdown(words, problems));
    let max_prefixes = spec.max_prefixes.as_ref().map(|limits| max_prefixes(limits, problems));
    let max_prefixes_out = spec.max_prefixes_out.as_ref();
    let max_prefixes_out = max_prefixes_out.map(|limits| self::max_prefixes_out(limits, problems));
    let role = spec.local_role.as_deref().and_then(|text| role(text, problems));
    if spec.require_role && spec.local_role.is_none() {
        problems.error("spec.requireRole", "needs localRole");
    }
    if spec.local_role.is_some() && spec.route_reflector_client {
        let message = "is for external neighbours, routeReflectorClient for internal ones";
        problems.error("spec.localRole", message);
    }
    let bfd = spec.bfd.as_ref().map(|bfd| self::bfd(bfd, problems));
    let whole = problems.errors() == before;
    let (hops, password) = (hops?, password?);
    whole.then_some(PeerSettings {
        hops,
        password,
        shutdown,
        max_prefixes,
        max_prefixes_out,
        reflector_client: spec.route_reflector_client,
        role,
        require_role: spec.require_role,
        bfd,
    })
}

fn role(text: &str, problems: &mut Problems) -> Option<Role> {
    match text {
        "Provider" => Some(Role::Provider),
        "RouteServer" => Some(Role::RouteServer),
        "RouteServerClient" => Some(Role::RouteServerClient),
        "Customer" => Some(Role::Customer),
        "Peer" => Some(Role::Peer),
        other => {
            let all = "Provider, RouteServer, RouteServerClient, Customer, Peer";
            problems.error("spec.localRole", format!("`{other}` is not one of {all}"));
            None
        }
    }
}

/// Milliseconds between packets of BFD, unless said.
const BFD_INTERVAL: i32 = 300;
/// Missed packets of BFD that are too many, unless said.
const BFD_MULTIPLIER: i32 = 3;

fn bfd(bfd: &BgpBfd, problems: &mut Problems) -> Bfd {
    let mut interval = |value: Option<i32>, field: &str| {
        let value = value.unwrap_or(BFD_INTERVAL);
        if !(10..=60_000).contains(&value) {
            let message = format!("{value} is not between 10 and 60000");
            problems.error(format!("spec.bfd.{field}"), message);
        }
        u16::try_from(value).unwrap_or_default()
    };
    let min_tx = interval(bfd.min_tx_milliseconds, "minTxMilliseconds");
    let min_rx = interval(bfd.min_rx_milliseconds, "minRxMilliseconds");
    let multiplier = bfd.multiplier.unwrap_or(BFD_MULTIPLIER);
    if !(2..=255).contains(&multiplier) {
        problems.error("spec.bfd.multiplier", format!("{multiplier} is not between 2 and 255"));
    }
    Bfd { min_tx, min_rx, multiplier: u8::try_from(multiplier).unwrap_or_default() }
}

/// Most octets of the words for a shutdown (RFC 9003 §2).
const MAX_WORDS: usize = 255;

fn shutdown(words: &str, problems: &mut Problems) -> Arc<str> {
    if words.len() > MAX_WORDS {
        let message = format!("has {} octets, more than {MAX_WORDS}", words.len());
        problems.error("spec.shutdown", message);
    }
    words.into()
}

/// From how many percent on to warn, unless said.
const WARN_PERCENT: u8 = 75;

fn max_prefixes(limits: &BgpMaxPrefixes, problems: &mut Problems) -> MaxPrefixes {
    let read = Limits { v4: limits.v4, v6: limits.v6, warn_percent: limits.warn_percent };
    let (ipv4, ipv6, warn_percent) = read.convert("spec.maxPrefixes", problems);
    let restart_after = limits.restart_after.map(Duration::seconds);
    MaxPrefixes { ipv4, ipv6, warn_percent, restart_after }
}

fn max_prefixes_out(limits: &BgpMaxPrefixesOut, problems: &mut Problems) -> MaxPrefixesOut {
    let read = Limits { v4: limits.v4, v6: limits.v6, warn_percent: limits.warn_percent };
    let (ipv4, ipv6, warn_percent) = read.convert("spec.maxPrefixesOut", problems);
    MaxPrefixesOut { ipv4, ipv6, warn_percent }
}

/// What limits of either direction have.
struct Limits {
    v4: Option<i64>,
    v6: Option<i64>,
    warn_percent: Option<i32>,
}

impl Limits {
    /// Limits for IPv4 and IPv6, and from how many percent on to warn.
    fn convert(self, at: &str, problems: &mut Problems) -> (Option<u32>, Option<u32>, u8) {
        if self.v4.is_none() && self.v6.is_none() {
            problems.error(at, "limits neither v4 nor v6");
        }
        let mut limit = |limit: Option<i64>, field: &str| {
            let limit = limit?;
            let number = u32::try_from(limit).ok().filter(|number| *number > 0);
            if number.is_none() {
                let message = format!("{limit} is not a limit: 1 to {} are", u32::MAX);
                problems.error(format!("{at}.{field}"), message);
            }
            number
        };
        let (ipv4, ipv6) = (limit(self.v4, "v4"), limit(self.v6, "v6"));
        let percent = self.warn_percent.unwrap_or(WARN_PERCENT.into());
        let warn_percent = u8::try_from(percent).ok().filter(|p| (1..=100).contains(p));
        if warn_percent.is_none() {
            let message = format!("{percent} is not between 1 and 100");
            problems.error(format!("{at}.warnPercent"), message);
        }
        (ipv4, ipv6, warn_percent.unwrap_or(WARN_PERCENT))
    }
}

fn hops(spec: &BgpPeerSpec, problems: &mut Problems) -> Option<Hops> {
    match (spec.ttl_security, spec.ebgp_multihop) {
        (None, None) => Some(Hops::Usual),
        (Some(hops), None) => number(hops, 254, "spec.ttlSecurity", problems).map(Hops::Security),
        (None, Some(hops)) => number(hops, 255, "spec.ebgpMultihop", problems).map(Hops::Multihop),
        (Some(_), Some(_)) => {
            problems.error("spec.ttlSecurity", "ttlSecurity and ebgpMultihop exclude each other");
            None
        }
    }
}

fn number(hops: i32, most: u8, field: &str, problems: &mut Problems) -> Option<u8> {
    let number = u8::try_from(hops).ok().filter(|hops| (1..=most).contains(hops));
    if number.is_none() {
        problems.error(field, format!("{hops} is not a number of hops: 1 to {most} are"));
    }
    number
}

fn password(password: &BgpPassword, problems: &mut Problems) -> Option<PasswordSource> {
    match (&password.file, &password.secret_key_ref) {
        (Some(file), None) => {
            let path = PathBuf::from(file);
            if !path.is_absolute() {
                problems.error("spec.password.file", format!("`{file}` is not an absolute path"));
                return None;
            }
            Some(PasswordSource::File(path.into()))
        }
        (None, Some(SecretKeyRef { name, key })) => {
            let mut whole = true;
            if !is_dns_subdomain(name) {
                let message = format!("`{name}` is not the name of a Secret");
                problems.error("spec.password.secretKeyRef.name", message);
                whole = false;
            }
            let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
            if key.is_empty() || key.len() > 253 || !key.bytes().all(fits) {
                let message = format!("`{key}` is not a key of a Secret");
                problems.error("spec.password.secretKeyRef.key", message);
                whole = false;
            }
            let (name, key) = (name.as_str().into(), key.as_str().into());
            whole.then_some(PasswordSource::Secret { name, key })
        }
        (None, None) => {
            problems.error("spec.password", "names neither file nor secretKeyRef");
            None
        }
        (Some(_), Some(_)) => {
            problems.error("spec.password", "file and secretKeyRef exclude each other");
            None
        }
    }
}

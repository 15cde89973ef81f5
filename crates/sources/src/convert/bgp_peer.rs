//! What protects the sessions with a `BGPPeer`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use brindle_api::{BgpPassword, BgpPeerSpec};
use brindle_model::routing::{Hops, PeerSettings};

use crate::problem::Problems;

/// Converts everything about a neighbour but who it is; `None` if any of it is broken, since a
/// session with half of its protection is not what was asked for.
pub(super) fn settings(spec: &BgpPeerSpec, problems: &mut Problems) -> Option<PeerSettings> {
    let hops = hops(spec, problems);
    let password_file = match &spec.password {
        Some(password) => password_file(password, problems).map(Some),
        None => Some(None),
    };
    Some(PeerSettings { hops: hops?, password_file: password_file? })
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

fn password_file(password: &BgpPassword, problems: &mut Problems) -> Option<Arc<Path>> {
    if password.secret_key_ref.is_some() {
        let message = "Secrets cannot be read from a folder; name a file of the node in `file`";
        problems.error("spec.password.secretKeyRef", message);
        return None;
    }
    let Some(file) = &password.file else {
        problems.error("spec.password", "names no file");
        return None;
    };
    let path = PathBuf::from(file);
    if !path.is_absolute() {
        problems.error("spec.password.file", format!("`{file}` is not an absolute path"));
        return None;
    }
    Some(path.into())
}

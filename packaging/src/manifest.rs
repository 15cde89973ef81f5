//! The plain manifest, joined from the kustomize base.
//!
//! `manifests/kustomization.yaml` lists the pieces; `kubectl apply -k manifests` and `kubectl apply
//! -f manifests/brindle.yaml` give the cluster the same objects.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The file that is made of the others.
pub const JOINED: &str = "brindle.yaml";
const LIST: &str = "kustomization.yaml";

/// The text of [`JOINED`] for the pieces in `folder`.
///
/// # Errors
/// A listed piece is missing, or none is listed.
pub fn join(folder: &Path) -> Result<String> {
    let list = read(&folder.join(LIST))?;
    let pieces: Vec<&str> = resources(&list).collect();
    ensure!(!pieces.is_empty(), "{LIST} lists no resources");
    let mut joined = String::from(
        "# Installs Brindle: kubectl apply --server-side -f brindle.yaml\n\
         # Joined by `cargo xtask manifests` from the files that kustomization.yaml lists.\n",
    );
    for piece in pieces {
        let text = read(&folder.join(piece))?;
        for document in text.split("\n---\n") {
            let document = document.trim_start_matches("---\n").trim();
            if !document.is_empty() {
                joined.push_str("---\n");
                joined.push_str(document);
                joined.push('\n');
            }
        }
    }
    Ok(joined)
}

/// The entries of `resources:`, which stand one a line.
fn resources(list: &str) -> impl Iterator<Item = &str> {
    let below = list.lines().skip_while(|line| line.trim_end() != "resources:").skip(1);
    below.map_while(|line| line.trim_start().strip_prefix("- ")).map(str::trim)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_joined_manifest_is_current() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
        let joined = join(&folder).unwrap();
        let stored = read(&folder.join(JOINED)).unwrap_or_default();
        assert!(joined == stored, "manifests/{JOINED} is stale: run cargo xtask manifests");
    }

    #[test]
    fn the_image_is_the_one_that_is_built() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
        let joined = join(&folder).unwrap();
        let asked = format!("image: {}\n", crate::product::name());
        assert!(joined.contains(&asked), "no container has {asked}");
    }
}

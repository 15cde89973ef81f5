//! The manifests that users apply, joined from the kustomize base.
//!
//! `kubectl apply -k manifests` and `kubectl apply -f manifests/brindle.yaml` give a cluster the
//! same objects: both files are written from what is in the folder. `brindle-operator.yaml` has the
//! operator alone, with the rights to install the rest as an `Installation` says.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The file that installs Brindle.
pub const JOINED: &str = "brindle.yaml";
/// The file that installs the operator, which installs Brindle.
pub const OPERATOR: &str = "brindle-operator.yaml";
/// The file that lists the others for kustomize.
pub const LIST: &str = "kustomization.yaml";
/// Pieces, in the order in which they are applied; of a folder, every file in it.
const PIECES: [&str; 5] = ["namespace.yaml", "crds", "rbac", "agent.yaml", "operator.yaml"];
/// Likewise of [`OPERATOR`].
const OPERATOR_PIECES: [&str; 4] =
    ["namespace.yaml", "operator", "rbac/operator.yaml", "operator.yaml"];

/// The text of [`LIST`] for the pieces in `folder`.
///
/// # Errors
/// A piece is missing.
pub fn list(folder: &Path) -> Result<String> {
    let mut list = String::from(
        "# Written by `cargo xtask manifests`.\n\
         apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n",
    );
    for piece in pieces(folder, &PIECES)? {
        list.push_str(&format!("- {piece}\n"));
    }
    Ok(list)
}

/// The text of [`JOINED`] for the pieces in `folder`.
///
/// # Errors
/// A piece is missing.
pub fn join(folder: &Path) -> Result<String> {
    join_pieces(folder, "Brindle", JOINED, &PIECES)
}

/// The text of [`OPERATOR`] for the pieces in `folder`.
///
/// # Errors
/// A piece is missing.
pub fn join_operator(folder: &Path) -> Result<String> {
    join_pieces(folder, "Brindle's operator", OPERATOR, &OPERATOR_PIECES)
}

fn join_pieces(folder: &Path, what: &str, file: &str, wanted: &[&str]) -> Result<String> {
    let mut joined = format!(
        "# Installs {what}: kubectl apply --server-side -f {file}\n\
         # Written by `cargo xtask manifests`.\n",
    );
    joined += &documents(folder, wanted)?;
    Ok(joined)
}

/// The documents of these pieces, each behind a line of dashes.
///
/// # Errors
/// A piece is missing.
pub(crate) fn documents(folder: &Path, wanted: &[&str]) -> Result<String> {
    let mut joined = String::new();
    for piece in pieces(folder, wanted)? {
        for document in read(&folder.join(piece))?.split("\n---\n") {
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

fn pieces(folder: &Path, wanted: &[&str]) -> Result<Vec<String>> {
    let mut pieces = Vec::new();
    for &piece in wanted {
        let path = folder.join(piece);
        if !path.is_dir() {
            pieces.push(piece.to_owned());
            continue;
        }
        let start = pieces.len();
        for entry in fs::read_dir(&path).with_context(|| format!("read {}", path.display()))? {
            pieces.push(format!("{piece}/{}", entry?.file_name().to_string_lossy()));
        }
        pieces[start..].sort();
    }
    Ok(pieces)
}

pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_of_the_pieces_is_current() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
        let made = [
            (JOINED, join(&folder).unwrap()),
            (OPERATOR, join_operator(&folder).unwrap()),
            (LIST, list(&folder).unwrap()),
        ];
        for (name, text) in made {
            let stored = read(&folder.join(name)).unwrap_or_default();
            assert!(text == stored, "manifests/{name} is stale: run cargo xtask manifests");
        }
    }

    #[test]
    fn the_image_is_the_one_that_is_built() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
        let asked = format!("image: {}\n", crate::product::name());
        for joined in [join(&folder).unwrap(), join_operator(&folder).unwrap()] {
            let images: Vec<&str> = joined.lines().filter(|l| l.contains(" image: ")).collect();
            assert!(images.iter().all(|line| asked.contains(line.trim())), "{images:?}");
            assert!(!images.is_empty(), "no container has {asked}");
        }
    }
}

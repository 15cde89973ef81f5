//! Objects of files laid over those that were read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use brindle_model::admin::{EditFile, EditFiles};
use brindle_model::cluster::Update;
use brindle_sources::convert::update;
use brindle_sources::edits;
use brindle_sources::object::{Object, ObjectKey};

use crate::cli::Edits;

impl Edits {
    /// Edits objects as they were written, and the inputs that came of them.
    ///
    /// # Errors
    /// A file cannot be read, or holds a document that is no object or would be refused.
    pub(crate) fn apply(
        &self,
        objects: &mut BTreeMap<ObjectKey, Object>,
        updates: &mut Vec<Update>,
    ) -> Result<()> {
        for path in &self.without {
            for (key, _) in read(path)? {
                if objects.remove(&key).is_none() {
                    bail!("{}: there is no {key} that could be gone", path.display());
                }
                updates.extend(update(&key, None));
            }
        }
        for path in &self.with {
            for (key, (object, input)) in read(path)? {
                objects.insert(key, object);
                updates.push(input);
            }
        }
        Ok(())
    }
}

impl Edits {
    /// The files, for an agent.
    ///
    /// # Errors
    /// There is none, or one cannot be read.
    pub(crate) fn files(&self) -> Result<EditFiles> {
        if self.with.is_empty() && self.without.is_empty() {
            bail!("nothing to compare: give --with or --without");
        }
        let file = |path: &PathBuf| {
            anyhow::Ok(EditFile { name: path.display().to_string(), text: text(path)? })
        };
        Ok(EditFiles {
            with: self.with.iter().map(file).collect::<Result<_>>()?,
            without: self.without.iter().map(file).collect::<Result<_>>()?,
        })
    }
}

/// The objects of a file, each with its input.
fn read(path: &Path) -> Result<BTreeMap<ObjectKey, (Object, Update)>> {
    Ok(edits::read(&path.display().to_string(), &text(path)?)?)
}

/// What a file holds.
///
/// # Errors
/// It cannot be read.
fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

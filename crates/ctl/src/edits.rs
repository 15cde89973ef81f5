//! Objects of files laid over those that were read.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use brindle_model::cluster::Update;
use brindle_sources::convert::{convert, update};
use brindle_sources::document::{self, Content};
use brindle_sources::intern::Interner;
use brindle_sources::object::{Object, ObjectKey};
use brindle_sources::problem::accepted;

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

/// The objects of a file, each with its input.
fn read(path: &Path) -> Result<BTreeMap<ObjectKey, (Object, Update)>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut names = Interner::default();
    let mut objects = BTreeMap::new();
    for document in document::parse(&text) {
        let place =
            format!("{} document {} (line {})", path.display(), document.number, document.line);
        let (key, decoded) = match document.content {
            Content::Object { key, decoded } => (key, decoded),
            Content::OtherKind { api_version, kind, .. } => {
                bail!("{place}: {kind} of {api_version} is no kind that decides anything")
            }
            Content::Unreadable(why) => bail!("{place}: {why}"),
        };
        let conversion = convert(&key, &decoded, &mut names);
        if !accepted(&conversion.problems) {
            let problems: Vec<_> = conversion.problems.iter().map(ToString::to_string).collect();
            bail!("{place}: {key} would be refused: {}", problems.join("; "));
        }
        let object = decoded.object.context("an accepted object was decoded")?;
        let input = update(&key, conversion.input).context("an accepted object is an input")?;
        objects.insert(key, (object, input));
    }
    Ok(objects)
}

//! One layer of an image: an uncompressed tar, the same bytes for the same content.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tar::{Builder, EntryType, Header};

/// A layer while it is filled. Folders above an entry come by themselves; of two entries with one
/// name the first counts. Everything belongs to root and is as old as the epoch.
pub struct Layer {
    tar: Builder<Vec<u8>>,
    seen: BTreeSet<String>,
}

impl Default for Layer {
    fn default() -> Self {
        Self { tar: Builder::new(Vec::new()), seen: BTreeSet::new() }
    }
}

impl Layer {
    /// Adds a folder.
    ///
    /// # Errors
    /// The name is too long for a tar.
    pub fn directory(&mut self, name: &str, mode: u32) -> Result<()> {
        let Some(name) = self.claim(name)? else { return Ok(()) };
        let mut header = header(EntryType::Directory, mode, 0);
        Ok(self.tar.append_data(&mut header, name, std::io::empty())?)
    }

    /// Adds a file with these contents.
    ///
    /// # Errors
    /// As [`Layer::directory`].
    pub fn contents(&mut self, name: &str, contents: &[u8], mode: u32) -> Result<()> {
        let Some(name) = self.claim(name)? else { return Ok(()) };
        let mut header = header(EntryType::Regular, mode, contents.len() as u64);
        Ok(self.tar.append_data(&mut header, name, contents)?)
    }

    /// Adds a program of this machine.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn program(&mut self, name: &str, source: &Path) -> Result<()> {
        let contents = fs::read(source).with_context(|| format!("read {}", source.display()))?;
        self.contents(name, &contents, 0o755)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// As [`Layer::directory`].
    pub fn link(&mut self, name: &str, target: &str) -> Result<()> {
        let Some(name) = self.claim(name)? else { return Ok(()) };
        let mut header = header(EntryType::Symlink, 0o777, 0);
        Ok(self.tar.append_link(&mut header, name, target)?)
    }

    /// The tar.
    ///
    /// # Errors
    /// None in practice: it is written into memory.
    pub fn finish(self) -> Result<Vec<u8>> {
        Ok(self.tar.into_inner()?)
    }

    /// The name without slashes around it, unless it is there already; makes the folders above.
    fn claim(&mut self, name: &str) -> Result<Option<String>> {
        let name = name.trim_matches('/').to_owned();
        if name.is_empty() || self.seen.contains(&name) {
            return Ok(None);
        }
        if let Some((above, _)) = name.rsplit_once('/') {
            self.directory(above, 0o755)?;
        }
        self.seen.insert(name.clone());
        Ok(Some(name))
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_first_and_once() {
        let mut layer = Layer::default();
        layer.contents("/etc/a/one", b"1", 0o644).unwrap();
        layer.contents("etc/a/one", b"2", 0o644).unwrap();
        layer.link("/etc/a/two", "one").unwrap();
        let bytes = layer.finish().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let names = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            (entry.path().unwrap().display().to_string(), entry.header().mtime().unwrap())
        });
        let expected = ["etc", "etc/a", "etc/a/one", "etc/a/two"].map(|n| (n.to_owned(), 0));
        assert_eq!(names.collect::<Vec<_>>(), expected);
    }
}

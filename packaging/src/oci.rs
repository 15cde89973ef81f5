//! An OCI image layout in a tar (image-spec 1.1), as `ctr images import` and `skopeo` read it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::layer::Layer;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// How containers of an image start.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Arguments unless the pod has its own.
    pub arguments: Vec<String>,
    /// The user, `UID:GID`; root unless said.
    pub user: Option<String>,
}

/// An image of one layer.
pub struct Image {
    layer: Vec<u8>,
    start: Start,
}

impl Image {
    /// Of a filled layer.
    ///
    /// # Errors
    /// As [`Layer::finish`].
    pub fn new(layer: Layer, start: Start) -> Result<Self> {
        Ok(Self { layer: layer.finish()?, start })
    }

    /// The same content that starts otherwise.
    pub fn starting(&self, start: Start) -> Self {
        Self { layer: self.layer.clone(), start }
    }

    /// Writes the archive, in which the image has these full names (`host/path:tag`; a name without
    /// a host would be taken for one of a public registry). Returns the manifest's digest.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path, names: &[String]) -> Result<String> {
        let layer = Blob::new(LAYER, &self.layer);
        let config = serde_json::to_vec(&self.config(&layer))?;
        let config = Blob::new(CONFIG, &config);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        });
        let manifest = serde_json::to_vec(&manifest)?;
        let manifest = Blob::new(MANIFEST, &manifest);
        let named = names.iter().map(|name| {
            let mut descriptor = manifest.descriptor();
            let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
            descriptor["annotations"] = json!({
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": tag,
            });
            descriptor
        });
        let index = json!({"schemaVersion": 2, "manifests": named.collect::<Vec<_>>()});

        let file = File::create(path).with_context(|| format!("write {}", path.display()))?;
        let mut archive = Builder::new(BufWriter::new(file));
        append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut archive, "index.json", &serde_json::to_vec(&index)?)?;
        for blob in [&layer, &config, &manifest] {
            append(&mut archive, &format!("blobs/sha256/{}", blob.digest), blob.bytes)?;
        }
        archive.into_inner()?.flush().with_context(|| format!("write {}", path.display()))?;
        Ok(format!("sha256:{}", manifest.digest))
    }

    fn config(&self, layer: &Blob<'_>) -> Value {
        let mut start = json!({
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Entrypoint": self.start.entrypoint,
        });
        if !self.start.arguments.is_empty() {
            start["Cmd"] = json!(self.start.arguments);
        }
        if let Some(user) = &self.start.user {
            start["User"] = json!(user);
        }
        json!({
            "created": "1970-01-01T00:00:00Z",
            "architecture": "amd64",
            "os": "linux",
            "config": start,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)]},
        })
    }
}

/// A content-addressed piece.
struct Blob<'a> {
    kind: &'static str,
    digest: String,
    bytes: &'a [u8],
}

impl<'a> Blob<'a> {
    fn new(kind: &'static str, bytes: &'a [u8]) -> Self {
        let digest = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { kind, digest, bytes }
    }

    fn descriptor(&self) -> Value {
        json!({
            "mediaType": self.kind,
            "digest": format!("sha256:{}", self.digest),
            "size": self.bytes.len(),
        })
    }
}

fn append(archive: &mut Builder<impl Write>, name: &str, contents: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(contents.len() as u64);
    Ok(archive.append_data(&mut header, name, contents)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    fn read(path: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(File::open(path).unwrap());
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        });
        entries.collect()
    }

    #[test]
    fn every_descriptor_leads_to_its_blob() {
        let mut layer = Layer::default();
        layer.contents("/hello", b"world", 0o644).unwrap();
        let start = Start { entrypoint: vec!["/hello".into()], ..Start::default() };
        let image = Image::new(layer, start).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.tar");
        let names = ["example.org/a:1".to_owned(), "example.org/b:2".to_owned()];
        let digest = image.write(&path, &names).unwrap();
        assert_eq!(image.write(&path, &names).unwrap(), digest, "the same bytes again");

        let files = read(&path);
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let follow = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:");
            let bytes = &files[&format!("blobs/sha256/{digest}")];
            assert_eq!(descriptor["size"], bytes.len());
            assert_eq!(Blob::new(MANIFEST, bytes).digest, digest);
            bytes
        };
        let index = json(&files["index.json"]);
        for (listed, name) in index["manifests"].as_array().unwrap().iter().zip(names) {
            assert_eq!(listed["annotations"]["io.containerd.image.name"], name);
            let manifest = json(follow(listed));
            let config = json(follow(&manifest["config"]));
            follow(&manifest["layers"][0]);
            assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        }
    }
}

//! The status folder, as one and several agents write it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use brindle_model::ruleset::Generation;
use brindle_sources::directory::Store;
use brindle_sources::status::{FileStatus, ObjectStatus, OpenError, StatusWriter};
use tempfile::TempDir;

const POLICY: &str =
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\n";
const PATH: &str = "NetworkPolicy/shop/p.yaml";

/// A source folder's store and a status folder beside it.
struct Lab {
    folder: TempDir,
    store: Store,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("source")).unwrap();
        Self { folder, store: Store::default() }
    }

    fn writer(&self, node: &str) -> StatusWriter {
        let status = self.folder.path().join("status");
        StatusWriter::open(&status, &self.folder.path().join("source"), &node.into()).unwrap()
    }

    /// Runs one agent of `node`: puts a file, reports, enforces up to `enforced`, ends.
    fn agent(&mut self, node: &str, files: &[(&str, &str)], generation: u64, enforced: u64) {
        let writer = self.writer(node);
        for (path, text) in files {
            self.store.put(Path::new(path), text.as_bytes());
        }
        writer.report(&self.store.flush(), Generation(generation));
        writer.enforced(Generation(enforced));
    }

    fn read<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        let path = self.folder.path().join("status").join(path);
        serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    fn files(&self) -> Vec<PathBuf> {
        let root = self.folder.path().join("status");
        let (mut open, mut found) = (vec![root.clone()], Vec::new());
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true => open.push(entry.path()),
                    false => found.push(entry.path().strip_prefix(&root).unwrap().to_owned()),
                }
            }
        }
        found.retain(|path| path != Path::new(".lock"));
        found.sort();
        found
    }
}

fn generations(status: &ObjectStatus) -> BTreeMap<&str, (u64, bool)> {
    let nodes = status.nodes.iter();
    nodes.map(|(n, s)| (n.as_str(), (s.generation.0, s.revision == status.revision))).collect()
}

#[test]
fn a_node_enforces_what_its_generation_brings() {
    let mut lab = Lab::new();
    lab.agent("n1", &[("a.yaml", POLICY)], 5, 4);
    let status: ObjectStatus = lab.read(PATH);
    assert!(status.accepted && status.nodes.is_empty(), "{status:?}");
    assert_eq!((status.file.as_str(), status.document, status.line), ("a.yaml", 1, 1));

    let writer = lab.writer("n1");
    let mut store = Store::default();
    store.put(Path::new("a.yaml"), POLICY.as_bytes());
    writer.report(&store.flush(), Generation(5));
    writer.enforced(Generation(7));
    drop(writer);
    let status: ObjectStatus = lab.read(PATH);
    assert_eq!(generations(&status), [("n1", (5, true))].into());
}

#[test]
fn nodes_share_a_file() {
    let mut lab = Lab::new();
    lab.agent("n1", &[("a.yaml", POLICY)], 3, 3);
    lab.store = Store::default();
    lab.agent("n2", &[("a.yaml", POLICY)], 8, 9);
    let status: ObjectStatus = lab.read(PATH);
    assert_eq!(generations(&status), [("n1", (3, true)), ("n2", (8, true))].into());
    let edited = format!("{POLICY}spec: {{policyTypes: [Egress]}}\n");
    lab.agent("n2", &[("a.yaml", &edited)], 10, 10);
    let status: ObjectStatus = lab.read(PATH);
    assert_eq!(generations(&status), [("n1", (3, false)), ("n2", (10, true))].into());
}

#[test]
fn many_agents_at_once_lose_nothing() {
    let lab = Lab::new();
    std::thread::scope(|scope| {
        for node in 0..8 {
            let lab = &lab;
            scope.spawn(move || {
                let writer = lab.writer(&format!("n{node}"));
                let mut store = Store::default();
                for round in 1..=20 {
                    store.put(Path::new("a.yaml"), format!("{POLICY}# {round}\n").as_bytes());
                    writer.report(&store.flush(), Generation(round));
                    writer.enforced(Generation(round));
                }
            });
        }
    });
    let status: ObjectStatus = lab.read(PATH);
    assert_eq!(status.nodes.len(), 8);
    assert!(status.nodes.values().all(|node| node.generation == Generation(20)), "{status:?}");
    assert_eq!(lab.files(), [Path::new(PATH)]);
}

#[test]
fn problems_are_told_in_words() {
    let mut lab = Lab::new();
    let broken = format!("{POLICY}spec: {{ingress: [{{ports: [{{port: 70000}}]}}]}}\n");
    let other = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n";
    lab.agent("n1", &[("x/a.yaml", &format!("{other}---\n{broken}---\n]"))], 1, 1);
    let status: ObjectStatus = lab.read(PATH);
    assert!(!status.accepted);
    assert_eq!(
        status.problems[0].to_string(),
        "spec.ingress[0].ports[0].port: 70000 is not a port: 1 to 65535 are"
    );
    assert_eq!(
        generations(&status),
        [("n1", (1, true))].into(),
        "a broken policy is enforced closed"
    );
    let file: FileStatus = lab.read("files/x/a.yaml");
    let documents: Vec<_> =
        file.documents.iter().map(|d| (d.document, format!("{:?}", d.outcome))).collect();
    assert_eq!(documents, [(1, "Ignored".to_owned()), (3, "Unreadable".to_owned())]);
    assert!(file.documents[1].problems[0].message.contains("line 10"), "{file:?}");
}

#[test]
fn a_rejected_object_is_not_said_to_be_enforced() {
    let mut lab = Lab::new();
    let pool =
        "apiVersion: brindle.io/v1alpha1\nkind: IPPool\nmetadata: {name: p}\nspec: {cidr: x}\n";
    lab.agent("n1", &[("a.yaml", pool)], 1, 1);
    let status: ObjectStatus = lab.read("IPPool/p.yaml");
    assert!(!status.accepted && status.nodes.is_empty());
}

#[test]
fn what_is_gone_has_no_status() {
    let mut lab = Lab::new();
    lab.agent("n1", &[("a.yaml", POLICY), ("b.yaml", "]")], 1, 1);
    assert_eq!(lab.files(), [Path::new(PATH), Path::new("files/b.yaml")]);
    let writer = lab.writer("n1");
    lab.store.remove(Path::new("a.yaml"));
    lab.store.remove(Path::new("b.yaml"));
    writer.report(&lab.store.flush(), Generation(2));
    drop(writer);
    assert_eq!(lab.files(), [] as [&Path; 0]);
    assert!(!lab.folder.path().join("status/NetworkPolicy").exists(), "empty folders go too");
}

#[test]
fn leftovers_are_swept_once_in_sync() {
    let mut lab = Lab::new();
    lab.agent("n1", &[("a.yaml", POLICY), ("b.yaml", "]")], 1, 1);
    let foreign = lab.folder.path().join("status/README.yaml");
    fs::write(&foreign, "not ours").unwrap();
    let writer = lab.writer("n2");
    let mut store = Store::default();
    store.put(Path::new("b.yaml"), b"]");
    writer.report(&store.flush(), Generation(1));
    writer.in_sync();
    drop(writer);
    assert_eq!(lab.files(), [Path::new("README.yaml"), Path::new("files/b.yaml")]);
}

#[test]
fn long_names_have_a_file_each() {
    let mut lab = Lab::new();
    let names = ["a", "b"].map(|last| format!("{}{last}", "x.".repeat(126)));
    let objects = names.clone().map(|name| POLICY.replace("name: p,", &format!("name: {name},")));
    lab.agent("n1", &[("a.yaml", &objects.join("---\n"))], 1, 1);
    let files = lab.files();
    assert_eq!(files.len(), 2);
    let found = files.iter().map(|f| lab.read::<ObjectStatus>(f.to_str().unwrap()).name);
    assert_eq!(found.collect::<std::collections::BTreeSet<_>>(), names.into());
}

#[test]
fn the_status_folder_stands_outside_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let error = StatusWriter::open(&folder.path().join("status"), folder.path(), &"n1".into());
    assert!(matches!(error, Err(OpenError::InsideSource { .. })));
}

#[test]
fn kinds_of_one_name_have_folders_of_their_own() {
    let mut lab = Lab::new();
    let ours = POLICY.replace("networking.k8s.io/v1", "brindle.io/v1alpha1") + "spec: {}\n";
    let host = "---\napiVersion: brindle.io/v1alpha1\nkind: HostEndpoint\nmetadata: {name: h}\nspec: {node: n1}\n";
    lab.agent("n1", &[("a.yaml", POLICY), ("b.yaml", &(ours + host))], 5, 5);
    let theirs: ObjectStatus = lab.read(PATH);
    let ours: ObjectStatus = lab.read("NetworkPolicy.brindle.io/shop/p.yaml");
    assert_eq!(theirs.kind, ours.kind);
    assert_eq!(ours.api_version, "brindle.io/v1alpha1");
    assert_eq!(generations(&ours), BTreeMap::from([("n1", (5, true))]));
    let refused: ObjectStatus = lab.read("HostEndpoint/h.yaml");
    assert!(!refused.accepted && refused.nodes.is_empty(), "{refused:?}");
    lab.writer("n1").in_sync();
    assert!(lab.files().is_empty(), "all are swept");
}

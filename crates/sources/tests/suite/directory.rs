//! Which documents count: the store behind the folder, without a folder.

use std::path::Path;

use brindle_model::cluster::Update;
use brindle_sources::directory::Store;
use brindle_sources::event::Changes;
use brindle_sources::report::Outcome;
use brindle_sources::snapshot::Snapshot;

use super::line;

fn pod(name: &str, role: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{role: '{role}'}}}}\n---\n"
    )
}

fn pool(name: &str, cidr: &str) -> String {
    format!(
        "apiVersion: brindle.io/v1alpha1\nkind: IPPool\nmetadata: {{name: {name}}}\nspec: {{cidr: {cidr}}}\n---\n"
    )
}

fn put(store: &mut Store, path: &str, text: &str) -> Changes {
    store.put(Path::new(path), text.as_bytes());
    store.flush()
}

/// Updates as `pod=role`, `pool=cidr`, or `name gone`.
fn told(changes: &Changes) -> Vec<String> {
    let gone = |name: &str| format!("{name} gone");
    let told = changes.updates.iter().map(|update| match update {
        Update::Pod(id, Some(pod)) => format!("{}={}", id.name, pod.labels.get("role").unwrap()),
        Update::Pod(id, None) => gone(&id.name),
        Update::IpPool(name, Some(pool)) => format!("{name}={}", pool.cidr),
        Update::IpPool(name, None) => gone(name),
        other => panic!("{other:?}"),
    });
    told.collect()
}

/// Remarks on a file as `document outcome object: problem`.
fn remarks(changes: &Changes, path: &str) -> Vec<String> {
    let report = changes.files.iter().find(|(p, _)| **p == *Path::new(path));
    let Some((_, Some(report))) = report else { return Vec::new() };
    let documents = report.documents.iter().map(|d| {
        let problems: Vec<_> = d.problems.iter().map(line).collect();
        let object = d.object.as_deref().unwrap_or("?");
        format!("{} {:?} {object}: {}", d.document, d.outcome, problems.join("; "))
    });
    documents.collect()
}

#[test]
fn only_changed_values_are_told() {
    let mut store = Store::default();
    assert_eq!(
        told(&put(&mut store, "a.yaml", &(pod("a", "web") + &pod("b", "db")))),
        ["a=web", "b=db"]
    );
    assert!(put(&mut store, "a.yaml", &(pod("a", "web") + &pod("b", "db"))).is_empty());
    let commented = String::from("# why\n") + &pod("b", "db") + &pod("a", "web");
    assert!(put(&mut store, "a.yaml", &commented).is_empty(), "text and order are not values");
    assert_eq!(told(&put(&mut store, "a.yaml", &pod("b", "cache"))), ["a gone", "b=cache"]);
    store.remove(Path::new("a.yaml"));
    assert_eq!(told(&store.flush()), ["b gone"]);
}

#[test]
fn changes_between_flushes_coalesce() {
    let mut store = Store::default();
    store.put(Path::new("a.yaml"), pod("a", "web").as_bytes());
    store.put(Path::new("a.yaml"), pod("a", "db").as_bytes());
    assert_eq!(told(&store.flush()), ["a=db"]);
    store.remove(Path::new("a.yaml"));
    store.put(Path::new("b/c.yaml"), pod("a", "db").as_bytes());
    assert!(store.flush().is_empty(), "moved to another file");
}

#[test]
fn the_first_of_two_files_counts() {
    let mut store = Store::default();
    assert_eq!(told(&put(&mut store, "b.yaml", &pod("a", "second"))), ["a=second"]);
    let changes = put(&mut store, "a.yaml", &(pod("x", "x") + &pod("a", "first")));
    assert_eq!(told(&changes), ["a=first", "x=x"], "whatever the order in which they came");
    assert_eq!(
        remarks(&changes, "b.yaml"),
        ["1 Duplicate Pod shop/a: already defined in a.yaml (document 2, line 4), which counts"]
    );
    store.remove(Path::new("a.yaml"));
    let changes = store.flush();
    assert_eq!(told(&changes), ["a=second", "x gone"]);
    assert_eq!(changes.files, [(Path::new("b.yaml").into(), None)], "no fault any more");
}

#[test]
fn the_first_of_two_documents_counts() {
    let mut store = Store::default();
    let changes = put(&mut store, "a.yaml", &(pod("a", "first") + &pod("a", "second")));
    assert_eq!(told(&changes), ["a=first"]);
    assert_eq!(remarks(&changes, "a.yaml").len(), 1);
}

#[test]
fn a_duplicate_policy_names_both_files() {
    let mut store = Store::default();
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\n";
    store.put(Path::new("a.yaml"), policy.as_bytes());
    store.put(Path::new("sub/b.yaml"), policy.as_bytes());
    let changes = store.flush();
    let (key, report) = &changes.objects[0];
    let report = report.as_ref().unwrap();
    assert_eq!((key.to_string().as_str(), report.is_accepted()), ("NetworkPolicy shop/p", false));
    assert_eq!(report.place.as_ref().unwrap().file.to_str(), Some("a.yaml"));
    assert_eq!(
        line(&report.problems[0]),
        "also defined in sub/b.yaml (document 1, line 1), which does not count"
    );
}

#[test]
fn an_unreadable_document_keeps_what_it_may_hold() {
    let mut store = Store::default();
    put(&mut store, "a.yaml", &(pod("a", "web") + &pod("b", "db")));
    let changes = put(&mut store, "a.yaml", &(pod("a", "new") + "kind: [Pod\n"));
    assert_eq!(told(&changes), ["a=new"], "b may be what the broken document is about");
    let (_, report) = &changes.files[0];
    let report = report.as_ref().unwrap();
    assert_eq!(report.documents[0].outcome, Outcome::Unreadable);
    assert_eq!(report.kept.iter().map(ToString::to_string).collect::<Vec<_>>(), ["Pod shop/b"]);
    let changes = put(&mut store, "a.yaml", &pod("a", "new"));
    assert_eq!(told(&changes), ["b gone"]);
    assert_eq!(changes.files[0].1, None);
}

#[test]
fn a_file_that_cannot_be_read_keeps_its_objects() {
    let mut store = Store::default();
    put(&mut store, "a.yaml", &pod("a", "web"));
    let changes = {
        store.put(Path::new("a.yaml"), b"\xff\xfe");
        store.flush()
    };
    assert_eq!(told(&changes), [] as [&str; 0]);
    assert!(changes.files[0].1.as_ref().unwrap().error.as_ref().unwrap().contains("utf-8"));
    assert_eq!(put(&mut store, "a.yaml", &pod("a", "web")).files[0].1, None);
}

#[test]
fn a_document_with_another_kind_is_listed() {
    let mut store = Store::default();
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n---\n";
    let changes = put(&mut store, "a.yaml", &(text.to_owned() + &pod("a", "web")));
    assert_eq!(told(&changes), ["a=web"]);
    assert_eq!(remarks(&changes, "a.yaml"), ["1 Ignored apps/v1 Deployment web: "]);
}

#[test]
fn pools_that_overlap_in_every_order_of_arrival() {
    let files = [
        ("1.yaml", pool("a", "10.0.0.0/16")),
        ("2.yaml", pool("b", "10.0.0.0/8")),
        ("3.yaml", pool("c", "10.9.0.0/16")),
    ];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut store = Store::default();
        let mut pools = std::collections::BTreeMap::new();
        for i in order {
            for update in put(&mut store, files[i].0, &files[i].1).updates {
                let Update::IpPool(name, pool) = update else { panic!() };
                pools.insert(name.to_string(), pool.map(|p| p.cidr.to_string()));
            }
        }
        let expected = [
            ("a".to_owned(), Some("10.0.0.0/16".to_owned())),
            ("c".to_owned(), Some("10.9.0.0/16".to_owned())),
        ];
        pools.retain(|_, cidr| cidr.is_some());
        assert_eq!(pools, expected.into(), "{order:?}");
    }
}

#[test]
fn a_pool_comes_back_when_the_other_goes() {
    let mut store = Store::default();
    put(&mut store, "a.yaml", &pool("a", "10.0.0.0/16"));
    let changes = put(&mut store, "b.yaml", &pool("b", "10.0.0.0/8"));
    assert_eq!(told(&changes), [] as [&str; 0]);
    let report = changes.objects[0].1.as_ref().unwrap();
    assert_eq!(
        report.problems.iter().map(line).collect::<Vec<_>>(),
        ["spec.cidr: overlaps IPPool a"]
    );
    assert!(!report.has_effect);
    store.remove(Path::new("a.yaml"));
    assert_eq!(told(&store.flush()), ["a gone", "b=10.0.0.0/8"]);
}

#[test]
fn a_folder_read_once_is_what_following_it_would_tell() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(folder.path().join("b.yaml"), pod("a", "second") + &pod("b", "x")).unwrap();
    std::fs::write(folder.path().join("a.yaml"), pod("a", "first") + &pool("p", "ten")).unwrap();
    std::fs::write(folder.path().join("sub/c.yaml"), pool("p", "10.0.0.0/8") + "]").unwrap();
    let Snapshot { changes, objects, .. } =
        brindle_sources::directory::read_once(folder.path()).unwrap();
    assert_eq!(told(&changes), ["a=first", "b=x"], "the first pool counts, and is broken");
    assert_eq!(changes.files.len(), 2);
    let labels = objects.into_values().map(|object| match object {
        brindle_sources::object::Object::Pod(pod) => pod.metadata.labels.unwrap()["role"].clone(),
        other => panic!("{other:?}"),
    });
    assert_eq!(labels.collect::<Vec<_>>(), ["first", "x"]);
}

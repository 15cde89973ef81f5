//! `brindlectl what-if`, and `explain` with edits, on the folder of the other tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn under_tests(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn brindlectl(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brindlectl"));
    command.args(arguments).arg("--dir").arg(under_tests("folder"));
    command.current_dir(under_tests("edits")).output().unwrap()
}

fn changes(arguments: &[&str]) -> Vec<String> {
    let output = brindlectl(&[&["what-if", "-o", "json"], arguments].concat());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let changes: serde_json::Value = serde_json::from_slice(&output.stdout).expect(&error);
    let changes = changes.as_array().unwrap();
    assert_eq!(output.status.code(), Some(if changes.is_empty() { 0 } else { 3 }), "{error}");
    let text = |change: &serde_json::Value, field: &str| change[field].as_str().unwrap().to_owned();
    let line = |change| {
        let (from, to) = (text(change, "from"), text(change, "to"));
        let after = if change["after"] == true { "allowed" } else { "denied" };
        format!("{from} -> {to} {}: {after}", text(change, "port"))
    };
    changes.iter().map(line).collect()
}

#[test]
fn a_policy_that_takes_anothers_place() {
    // The application of the other namespace is held back by its own egress policy.
    assert_eq!(
        changes(&["--with", "close-db.yaml"]),
        ["shop/web -> shop/db 5432/tcp: denied"],
        "the named port was open to the web server"
    );
    let [table] = [brindlectl(&["what-if", "--with", "close-db.yaml"])];
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("allowed -> DENIED"), "{table}");
    assert!(table.contains("ingress of shop/db: isolated by"), "{table}");
}

#[test]
fn a_policy_that_goes() {
    assert_eq!(
        changes(&["--without", "default-deny.yaml", "--port", "80/tcp", "--port", "5432/tcp"]),
        [
            "blog/app -> shop/web 80/tcp: allowed",
            "blog/app -> shop/web 5432/tcp: allowed",
            "shop/db -> shop/web 80/tcp: allowed",
            "shop/db -> shop/web 5432/tcp: allowed",
        ]
        .map(str::to_owned)
        .to_vec()
    );
    assert_eq!(
        changes(&["--without", "default-deny.yaml", "--port", "icmp", "--from", "blog"]),
        ["blog/app -> shop/web icmp echo: allowed"]
    );
    assert!(changes(&["--without", "default-deny.yaml", "--to", "shop/db"]).is_empty());
}

#[test]
fn one_question_with_an_edit() {
    let question = ["explain", "shop/web", "shop/db", "--port", "5432"];
    assert_eq!(brindlectl(&question).status.code(), Some(0));
    let edited = brindlectl(&[&question[..], &["--with", "close-db.yaml"]].concat());
    assert_eq!(edited.status.code(), Some(3));
}

#[test]
fn edits_that_cannot_be_made() {
    for (arguments, words) in [
        (&["--with", "nowhere.yaml"][..], "cannot read nowhere.yaml"),
        (&["--with", "broken.yaml"], "would be refused: spec.ingress[0].ports[0].port"),
        (
            &[
                "--without",
                "../folder/objects.yaml",
                "--without",
                "default-deny.yaml",
                "--without",
                "default-deny.yaml",
            ],
            "there is no NetworkPolicy shop/default-deny",
        ),
        (&[], "give --with or --without"),
    ] {
        let output = brindlectl(&[&["what-if"], arguments].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && error.contains(words), "{arguments:?}: {error}");
    }
}

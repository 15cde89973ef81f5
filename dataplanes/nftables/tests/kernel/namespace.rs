//! A network namespace for one test, and `nft` within it.

use std::io::Write;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};

/// Runs a test in a network namespace of its own: that of a thread, which it ends with.
pub fn isolated<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
            test()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs a program and returns what it printed.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("program runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {error}");
    String::from_utf8(output.stdout).expect("text")
}

/// Loads a script with `nft -f`.
pub fn nft(script: &str) {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nft is installed");
    child.stdin.take().expect("piped").write_all(script.as_bytes()).expect("nft reads");
    let output = child.wait_with_output().expect("nft ends");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft -f: {error}\n{script}");
}

/// The whole ruleset as `nft` reads it, without what differs between equal tables: handles, and
/// the order of sets and elements.
pub fn listing() -> Vec<serde_json::Value> {
    let text = run("nft", &["-j", "list", "ruleset"]);
    let mut json: serde_json::Value = serde_json::from_str(&text).expect("nft prints JSON");
    let mut objects = json["nftables"].take().as_array().expect("a list").clone();
    objects.retain(|object| object.get("metainfo").is_none());
    objects.iter_mut().for_each(strip);
    // Rules keep their order within a chain; everything else is sorted.
    objects.sort_by_key(|object| match object.get("rule") {
        Some(rule) => format!("rule {} {}", rule["table"], rule["chain"]),
        None => object.to_string(),
    });
    objects
}

fn strip(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.remove("handle");
            for (key, value) in map.iter_mut() {
                strip(value);
                if let (true, Some(elements)) = (key == "elem", value.as_array_mut()) {
                    elements.sort_by_key(ToString::to_string);
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

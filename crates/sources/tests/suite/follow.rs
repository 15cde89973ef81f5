//! A real folder under inotify. Nothing sleeps: each test waits for what it expects to be told.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use brindle_model::cluster::Update;
use brindle_sources::directory::{Control, DirectorySource, OpenError, RunError};
use brindle_sources::event::Event;
use tempfile::TempDir;

/// Longer than any wait on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

fn pod(name: &str, role: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{role: '{role}'}}}}\n---\n"
    )
}

/// A folder, a source that follows it, and what it has told.
struct Followed {
    folder: TempDir,
    events: Receiver<Event>,
    control: Control,
    thread: JoinHandle<Result<(), RunError>>,
    /// Roles of the pods that are there.
    pods: BTreeMap<String, String>,
    /// Files with something to look at.
    faults: BTreeMap<PathBuf, usize>,
    /// Every change of a pod, in order.
    history: Vec<String>,
}

impl Followed {
    fn start(prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let source = DirectorySource::open(folder.path()).unwrap();
        let control = source.control().unwrap();
        let (sender, events) = sync_channel(1024);
        let thread = std::thread::spawn(move || {
            source.run(|event| match sender.send(event) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            })
        });
        let mut followed = Self {
            folder,
            events,
            control,
            thread,
            pods: BTreeMap::new(),
            faults: BTreeMap::new(),
            history: Vec::new(),
        };
        while followed.next() != Event::InSync {}
        followed
    }

    fn next(&mut self) -> Event {
        let event = self.events.recv_timeout(DEADLINE).expect("an event before the deadline");
        if let Event::Changes(changes) = &event {
            for update in &changes.updates {
                let Update::Pod(id, value) = update else { panic!("{update:?}") };
                let name = id.name.to_string();
                match value {
                    Some(pod) => {
                        let role = pod.labels.get("role").unwrap().to_string();
                        self.history.push(format!("{name}={role}"));
                        self.pods.insert(name, role);
                    }
                    None => {
                        self.history.push(format!("{name} gone"));
                        self.pods.remove(&name);
                    }
                }
            }
            for (path, report) in &changes.files {
                match report {
                    Some(report) => {
                        let faults = report.documents.len() + usize::from(report.error.is_some());
                        self.faults.insert(path.to_path_buf(), faults)
                    }
                    None => self.faults.remove(&**path),
                };
            }
        }
        event
    }

    /// Waits until exactly these pods, `name=role`, are told.
    fn until(&mut self, expected: &[&str]) {
        let begin = Instant::now();
        loop {
            let pods: Vec<_> = self.pods.iter().map(|(n, r)| format!("{n}={r}")).collect();
            if pods == expected {
                return;
            }
            assert!(begin.elapsed() < DEADLINE, "{pods:?} instead of {expected:?}");
            self.next();
        }
    }

    fn until_faults(&mut self, expected: &[(&str, usize)]) {
        let expected: BTreeMap<_, _> =
            expected.iter().map(|(path, n)| (PathBuf::from(path), *n)).collect();
        while self.faults != expected {
            self.next();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Waits until everything written so far has been told.
    fn settle(&mut self) {
        self.control.barrier().unwrap();
        while self.next() != Event::Barrier {}
    }

    fn finish(self) {
        self.control.stop();
        drop(self.events);
        self.thread.join().unwrap().unwrap();
    }
}

#[test]
fn what_stands_there_comes_before_in_sync() {
    let mut followed = Followed::start(|root| {
        fs::create_dir_all(root.join("deep/er")).unwrap();
        fs::write(root.join("a.yaml"), pod("a", "x")).unwrap();
        fs::write(root.join("deep/er/b.yml"), pod("b", "x")).unwrap();
        fs::write(root.join(".hidden.yaml"), pod("h", "x")).unwrap();
        fs::write(root.join("notes.txt"), pod("t", "x")).unwrap();
        fs::create_dir(root.join(".git")).unwrap();
        fs::write(root.join(".git/g.yaml"), pod("g", "x")).unwrap();
    });
    followed.until(&["a=x", "b=x"]);
    assert_eq!(followed.history.len(), 2);
    followed.finish();
}

#[test]
fn files_come_change_and_go() {
    let mut followed = Followed::start(|_| {});
    followed.write("a.yaml", &pod("a", "1"));
    followed.until(&["a=1"]);
    followed.write("a.yaml", &pod("a", "2"));
    followed.until(&["a=2"]);
    fs::rename(followed.path("a.yaml"), followed.path("b.yaml")).unwrap();
    followed.settle();
    fs::remove_file(followed.path("b.yaml")).unwrap();
    followed.until(&[]);
    assert_eq!(followed.history, ["a=1", "a=2", "a gone"], "a rename is no change");
    followed.finish();
}

#[test]
fn editors_replace_files() {
    let mut followed =
        Followed::start(|root| fs::write(root.join("a.yaml"), pod("a", "0")).unwrap());
    let file = followed.path("a.yaml");
    for round in 1..=20 {
        // As vim does it: a probe, the old file renamed away, the new one written, backup deleted.
        let backup = followed.path("a.yaml~");
        fs::write(followed.path("4913"), "").unwrap();
        fs::remove_file(followed.path("4913")).unwrap();
        fs::rename(&file, &backup).unwrap();
        fs::write(&file, pod("a", &format!("vim-{round}"))).unwrap();
        fs::remove_file(&backup).unwrap();
        followed.until(&[&format!("a=vim-{round}")]);
        // As others do it: written beside and renamed over.
        let draft = followed.path(".a.yaml.tmp");
        fs::write(&draft, pod("a", &format!("draft-{round}"))).unwrap();
        fs::rename(&draft, &file).unwrap();
        followed.until(&[&format!("a=draft-{round}")]);
    }
    assert!(!followed.history.contains(&"a gone".to_owned()), "{:?}", followed.history);
    followed.finish();
}

#[test]
fn a_file_is_read_when_its_writer_is_done() {
    let mut followed = Followed::start(|root| {
        fs::write(root.join("a.yaml"), pod("a", "old") + &pod("b", "old")).unwrap();
    });
    let mut file = fs::File::create(followed.path("a.yaml")).unwrap();
    file.write_all(pod("a", "new").as_bytes()).unwrap();
    file.sync_all().unwrap();
    followed.settle();
    followed.until(&["a=old", "b=old"]);
    file.write_all(pod("b", "new").as_bytes()).unwrap();
    drop(file);
    followed.until(&["a=new", "b=new"]);
    assert_eq!(followed.history.len(), 4, "{:?}", followed.history);
    followed.finish();
}

#[test]
fn a_file_cut_short_keeps_its_objects() {
    let mut followed =
        Followed::start(|root| fs::write(root.join("a.yaml"), pod("a", "1")).unwrap());
    followed.write("a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, names");
    followed.until_faults(&[("a.yaml", 1)]);
    followed.until(&["a=1"]);
    followed.write("a.yaml", &pod("a", "2"));
    followed.until(&["a=2"]);
    followed.until_faults(&[]);
    followed.finish();
}

#[test]
fn duplicates_are_told_and_settled() {
    let mut followed = Followed::start(|_| {});
    followed.write("b.yaml", &pod("a", "b"));
    followed.until(&["a=b"]);
    followed.write("a.yaml", &pod("a", "a"));
    followed.until(&["a=a"]);
    followed.until_faults(&[("b.yaml", 1)]);
    fs::remove_file(followed.path("a.yaml")).unwrap();
    followed.until(&["a=b"]);
    followed.until_faults(&[]);
    followed.finish();
}

#[test]
fn folders_come_move_and_go() {
    let mut followed = Followed::start(|_| {});
    fs::create_dir_all(followed.path("x/y/z")).unwrap();
    followed.write("x/y/z/a.yaml", &pod("a", "1"));
    followed.until(&["a=1"]);
    for (from, to) in [("x", "w"), ("w", "zz"), ("zz/y", "b")] {
        fs::rename(followed.path(from), followed.path(to)).unwrap();
        followed.settle();
    }
    followed.write("b/z/a.yaml", &pod("a", "2"));
    followed.until(&["a=2"]);
    let outside = tempfile::tempdir().unwrap();
    fs::rename(followed.path("b"), outside.path().join("b")).unwrap();
    followed.until(&[]);
    fs::write(outside.path().join("b/z/a.yaml"), pod("a", "3")).unwrap();
    fs::rename(outside.path().join("b"), followed.path("b")).unwrap();
    followed.until(&["a=3"]);
    fs::remove_dir_all(followed.path("b")).unwrap();
    followed.until(&[]);
    assert_eq!(followed.history, ["a=1", "a=2", "a gone", "a=3", "a gone"]);
    followed.finish();
}

#[test]
fn a_folder_made_in_one_go_is_seen_whole() {
    let mut followed = Followed::start(|_| {});
    for i in 0..50 {
        let folder = followed.path(&format!("d{i}/e/f"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("p.yaml"), pod(&format!("p{i:02}"), "x")).unwrap();
    }
    let expected: Vec<_> = (0..50).map(|i| format!("p{i:02}=x")).collect();
    followed.until(&expected.iter().map(String::as_str).collect::<Vec<_>>());
    followed.finish();
}

#[test]
fn volumes_that_swap_a_link_are_followed() {
    let mut followed = Followed::start(|root| {
        fs::create_dir(root.join("..v1")).unwrap();
        fs::write(root.join("..v1/a.yaml"), pod("a", "1")).unwrap();
        symlink("..v1", root.join("..data")).unwrap();
        symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    });
    followed.until(&["a=1"]);
    fs::create_dir(followed.path("..v2")).unwrap();
    followed.write("..v2/a.yaml", &pod("a", "2"));
    symlink("..v2", followed.path("..data_tmp")).unwrap();
    fs::rename(followed.path("..data_tmp"), followed.path("..data")).unwrap();
    followed.until(&["a=2"]);
    followed.finish();
}

#[test]
fn links_to_files_are_read() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("a.yaml");
    fs::write(&target, pod("a", "1")).unwrap();
    fs::write(outside.path().join("b.yaml"), pod("b", "1")).unwrap();
    let mut followed = Followed::start(|_| {});
    symlink(&target, followed.path("a.yaml")).unwrap();
    followed.until(&["a=1"]);
    fs::hard_link(outside.path().join("b.yaml"), followed.path("b.yaml"))
        .or_else(|_| fs::copy(outside.path().join("b.yaml"), followed.path("b.yaml")).map(drop))
        .unwrap();
    followed.until(&["a=1", "b=1"]);
    followed.finish();
}

#[test]
fn what_is_no_regular_file_does_not_block() {
    let mut followed = Followed::start(|_| {});
    let pipe = followed.path("pipe.yaml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::rename(&pipe, followed.path("moved.yaml")).unwrap();
    followed.until_faults(&[("moved.yaml", 1)]);
    followed.write("a.yaml", &pod("a", "1"));
    followed.until(&["a=1"]);
    followed.finish();
}

#[test]
fn a_storm_of_files_is_told_whole() {
    const FILES: usize = 2000;
    let mut followed = Followed::start(|_| {});
    for i in 0..FILES {
        followed.write(&format!("p{i:04}.yaml"), &pod(&format!("p{i:04}"), "1"));
    }
    let expected: Vec<_> = (0..FILES).map(|i| format!("p{i:04}=1")).collect();
    followed.until(&expected.iter().map(String::as_str).collect::<Vec<_>>());
    for i in 0..FILES {
        if i % 2 == 0 {
            fs::remove_file(followed.path(&format!("p{i:04}.yaml"))).unwrap();
        } else {
            followed.write(&format!("p{i:04}.yaml"), &pod(&format!("p{i:04}"), "2"));
        }
    }
    let expected: Vec<_> = (1..FILES).step_by(2).map(|i| format!("p{i:04}=2")).collect();
    followed.until(&expected.iter().map(String::as_str).collect::<Vec<_>>());
    followed.finish();
}

#[test]
fn a_queue_that_overflows_is_made_good() {
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let source = DirectorySource::open(folder.path()).unwrap();
    // The events of these pile up unread: two names in turn, so that none is merged into the last.
    for i in 0..=limit {
        fs::write(folder.path().join(["x.txt", "y.txt"][i % 2]), "").unwrap();
    }
    fs::write(folder.path().join("late.yaml"), pod("late", "0")).unwrap();
    let mut written = false;
    let mut seen = Vec::new();
    let done = source.run(|event| {
        match event {
            // Reads are over, the queue is not: what follows would be lost without a rescan.
            Event::InSync => {
                fs::write(folder.path().join("late.yaml"), pod("late", "1")).unwrap();
                written = true;
            }
            Event::Changes(changes) => seen.extend(changes.updates),
            Event::Barrier => panic!("nobody has asked for one"),
        }
        if seen.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    done.unwrap();
    assert!(written);
    assert!(
        matches!(&seen[1], Update::Pod(_, Some(pod)) if pod.labels.get("role").is_some_and(|r| **r == *"1"))
    );
}

#[test]
fn a_barrier_comes_after_what_was_done_before() {
    let mut followed = Followed::start(|_| {});
    for round in 0..10 {
        followed.write("a.yaml", &pod("a", &round.to_string()));
        followed.settle();
        assert_eq!(followed.pods["a"], round.to_string());
        let gone = match round % 2 {
            0 => fs::remove_file(followed.path("a.yaml")),
            _ => fs::rename(followed.path("a.yaml"), followed.path("a.yaml.off")),
        };
        gone.unwrap();
        followed.settle();
        assert_eq!(followed.pods, BTreeMap::new(), "round {round}");
    }
    followed.finish();
}

#[test]
fn barriers_are_told_under_constant_change() {
    let mut followed = Followed::start(|_| {});
    let root = followed.folder.path().to_owned();
    // Dropped, it ends the thread, also when an assertion fails.
    let (running, ended) = sync_channel::<()>(0);
    let churn = std::thread::spawn(move || {
        while ended.try_recv() != Err(TryRecvError::Disconnected) {
            fs::write(root.join("churn.yaml"), pod("churn", "x")).unwrap();
            fs::remove_file(root.join("churn.yaml")).unwrap();
        }
    });
    for i in 0..20 {
        followed.write("a.yaml", &pod("a", &i.to_string()));
        followed.settle();
        assert_eq!(followed.pods["a"], i.to_string());
    }
    drop(running);
    churn.join().unwrap();
    followed.finish();
}

#[test]
fn the_folder_itself_may_not_vanish() {
    let followed = Followed::start(|root| fs::write(root.join("a.yaml"), pod("a", "1")).unwrap());
    fs::rename(followed.folder.path(), followed.folder.path().with_extension("moved")).unwrap();
    let error = followed.thread.join().unwrap().unwrap_err();
    assert!(matches!(error, RunError::Gone(_)), "{error}");
    while let Ok(event) = followed.events.try_recv() {
        assert!(!matches!(event, Event::Changes(_)), "nothing is told to be gone: {event:?}");
    }
    fs::remove_dir_all(followed.folder.path().with_extension("moved")).unwrap();
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = DirectorySource::open(folder.path().join("none")).unwrap_err();
    assert!(matches!(error, OpenError::Watch { .. }), "{error}");
}

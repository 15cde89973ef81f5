use std::collections::BTreeSet;

use super::*;

/// A set of numbers: positive adds, negative removes.
#[derive(Debug, Default, Clone, PartialEq)]
struct Numbers(BTreeSet<i64>);

impl State for Numbers {
    const KIND: &'static str = "numbers";
    type Record = i64;

    fn apply(&mut self, record: i64) {
        if record > 0 {
            self.0.insert(record);
        } else {
            self.0.remove(&-record);
        }
    }

    fn records(&self) -> Vec<i64> {
        self.0.iter().copied().collect()
    }
}

fn numbers(journal: &Journal<Numbers>) -> Vec<i64> {
    journal.read(State::records)
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state/numbers.journal");
    let journal = Journal::<Numbers>::open(&path).unwrap();
    for n in [1, 2, 3, -2] {
        journal.append(n).unwrap();
    }
    drop(journal);
    assert_eq!(numbers(&Journal::open(&path).unwrap()), [1, 3]);
}

/// Whatever byte a crash cut the file at, the start finds the state after some whole line, and at
/// least all lines that were acknowledged before the cut.
#[test]
fn a_cut_at_any_byte_loses_only_what_was_not_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("numbers.journal");
    let journal = Journal::<Numbers>::open(&path).unwrap();
    let header = fs::metadata(&path).unwrap().len();
    let mut acknowledged = vec![(header, Vec::new())];
    for n in [10, 20, -10, 30, 40] {
        journal.append(n).unwrap();
        acknowledged.push((fs::metadata(&path).unwrap().len(), numbers(&journal)));
    }
    drop(journal);
    let bytes = fs::read(&path).unwrap();
    for cut in header..=bytes.len() as u64 {
        let copy = directory.path().join(format!("cut{cut}.journal"));
        fs::write(&copy, &bytes[..cut as usize]).unwrap();
        let found = numbers(&Journal::open(&copy).unwrap());
        let whole = acknowledged.iter().rfind(|(len, _)| *len <= cut).unwrap();
        // The record is whole one byte earlier: only its line feed is missing.
        let without_feed = acknowledged.iter().find(|(len, _)| *len == cut + 1);
        let expected = without_feed.unwrap_or(whole);
        assert_eq!(found, expected.1, "cut at {cut}");
    }
}

#[test]
fn damage_before_the_last_line_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("numbers.journal");
    fs::write(&path, "{\"journal\":\"numbers\",\"version\":1}\n[1]\n[2\n[3]\n").unwrap();
    let error = Journal::<Numbers>::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { line: 3, .. }), "{error}");
}

#[test]
fn another_kind_or_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("numbers.journal");
    for header in [
        "{\"journal\":\"letters\",\"version\":1}\n",
        "{\"journal\":\"numbers\",\"version\":2}\n",
        "",
        "x\n",
    ] {
        fs::write(&path, header).unwrap();
        let error = Journal::<Numbers>::open(&path).unwrap_err();
        assert!(matches!(error, OpenError::WrongKind { .. }), "{header}: {error}");
    }
}

#[test]
fn a_second_process_is_refused_and_the_first_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("numbers.journal");
    let journal = Journal::<Numbers>::open(&path).unwrap();
    assert!(matches!(Journal::<Numbers>::open(&path), Err(OpenError::InUse(_))));
    journal.append(1).unwrap();
    assert_eq!(numbers(&journal), [1]);
}

#[test]
fn appends_at_once_share_lines_and_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("numbers.journal");
    let journal = Journal::<Numbers>::open(&path).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..30 {
            let journal = &journal;
            scope.spawn(move || {
                for n in 1..=10 {
                    journal.append(thread * 10 + n).unwrap();
                }
            });
        }
    });
    drop(journal);
    let lines = fs::read_to_string(&path).unwrap().lines().count();
    assert!(lines < 301, "{lines} lines: nothing was shared");
    assert_eq!(numbers(&Journal::open(&path).unwrap()).len(), 300);
}

#[test]
fn a_failed_write_tells_its_callers_and_the_next_one_repairs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("numbers.journal");
    let journal = Journal::<Numbers>::open(&path).unwrap();
    journal.append(1).unwrap();
    let writable = journal.swap_file(File::open(&path).unwrap());
    assert!(journal.append(2).is_err());
    assert_eq!(numbers(&journal), [1]);
    // What a write that failed half-way leaves behind.
    let mut tail = File::options().append(true).open(&path).unwrap();
    tail.write_all(b"[999,998,997,").unwrap();
    journal.swap_file(writable);
    journal.append(3).unwrap();
    assert!(journal.lock().failed.is_empty());
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.ends_with("[1]\n[3]\n"), "{text}");
    drop(journal);
    assert_eq!(numbers(&Journal::open(&path).unwrap()), [1, 3]);
}

#[test]
fn a_grown_journal_is_written_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("numbers.journal");
    let journal = Journal::<Numbers>::open(&path).unwrap();
    journal.append(7).unwrap();
    journal.lock().file.as_mut().unwrap().compact_at = 400;
    for _ in 0..100 {
        journal.append(5).unwrap();
        journal.append(-5).unwrap();
    }
    let file_len = journal.lock().file.as_ref().unwrap().len;
    assert_eq!(fs::metadata(&path).unwrap().len(), file_len);
    drop(journal);
    assert_eq!(numbers(&Journal::open(&path).unwrap()), [7]);
}

//! Passwords of neighbours, read from the files that their objects name.
//!
//! A file that cannot be read, is empty or too long gives no key: there is no session then, and the
//! status says why. Once a key was read it stays in force until the file has another one: a file
//! that is being replaced, or gone for a moment, ends no session.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use brindle_bgp_speaker::{Md5Key, Password, PeerName};
use brindle_model::routing::Peer;

use super::Neighbour;

/// How often files are read again. A neighbour's own change must come within the hold time.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// More than any password has.
const MAX_FILE: u64 = 4096;

/// The neighbours that must have one.
#[derive(Clone, Debug, Default)]
pub(super) struct Passwords(BTreeMap<PeerName, (Arc<Path>, Neighbour)>);

impl Passwords {
    /// Adds the password to a neighbour's configuration, if its object names a file.
    pub fn complete(&mut self, name: &PeerName, mut config: Neighbour, peer: &Peer) -> Neighbour {
        let Some(path) = &peer.settings.password_file else {
            self.forget(name);
            return config;
        };
        let earlier = self.0.get_mut(name).filter(|(known, _)| known == path);
        let earlier = earlier.and_then(|(_, config)| config.config_mut().password.clone());
        config.config_mut().password = Some(read(path, earlier.as_ref()));
        self.0.insert(name.clone(), (path.clone(), config.clone()));
        config
    }

    /// The neighbour is gone or has none any more.
    pub fn forget(&mut self, name: &PeerName) {
        self.0.remove(name);
    }

    /// Reads every file again; returns the neighbours whose password is not as it was.
    pub fn changed(&mut self) -> Vec<(PeerName, Neighbour)> {
        let mut changed = Vec::new();
        for (name, (path, config)) in &mut self.0 {
            let known = &mut config.config_mut().password;
            let password = Some(read(path, known.as_ref()));
            if *known != password {
                *known = password;
                changed.push((name.clone(), config.clone()));
            }
        }
        changed
    }
}

fn read(path: &Path, earlier: Option<&Password>) -> Password {
    match key(path) {
        Ok(key) => Password { key: Some(key), problem: None },
        Err(reason) => {
            let key = earlier.and_then(|password| password.key.clone());
            let mut problem = format!("cannot read the password from {}: {reason}", path.display());
            if key.is_some() {
                problem += "; the one before is in use";
            }
            Password { key, problem: Some(problem) }
        }
    }
}

fn key(path: &Path) -> io::Result<Md5Key> {
    // Opening a FIFO would wait for somebody to write.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut octets = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut octets)?;
    let password = octets.strip_suffix(b"\n").unwrap_or(&octets);
    let password = password.strip_suffix(b"\r").unwrap_or(password);
    Md5Key::new(password).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use brindle_bgp_speaker::PeerConfig;
    use brindle_model::routing::{PeerAddress, PeerSettings};

    use super::*;

    #[test]
    fn a_key_comes_from_the_file_and_stays_until_there_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tor");
        let settings =
            PeerSettings { password_file: Some(file.clone().into()), ..Default::default() };
        let address = [192, 0, 2, 1].into();
        let peer = Peer {
            address: PeerAddress::One(address),
            port: 179,
            as_number: 1,
            passive: false,
            settings,
            filters: Vec::new(),
            unfit: None,
        };
        let (mut passwords, name) = (Passwords::default(), PeerName::from("tor"));
        let config = Neighbour::One(PeerConfig::new(address, 1));
        let mut first = passwords.complete(&name, config.clone(), &peer);
        let first = first.config_mut().password.clone().unwrap();
        assert_eq!(first.key, None, "a missing file is not an empty password");
        assert!(first.problem.unwrap().contains("No such file"));

        let expect = |passwords: &mut Passwords, key: Option<&[u8]>, problem: &str| {
            let mut changed = passwords.changed();
            let [(_, config)] = &mut changed[..] else { panic!("no change: {problem}") };
            let password = config.config_mut().password.clone().unwrap();
            assert_eq!(password.key, key.map(|key| Md5Key::new(key).unwrap()));
            assert!(password.problem.unwrap_or_default().contains(problem));
        };
        fs::write(&file, "\n").unwrap();
        expect(&mut passwords, None, "1 to 80 octets, not 0");
        fs::write(&file, "s3cret\n").unwrap();
        expect(&mut passwords, Some(b"s3cret"), "");
        assert!(passwords.changed().is_empty());
        fs::write(&file, "x".repeat(81)).unwrap();
        expect(&mut passwords, Some(b"s3cret"), "not 81; the one before is in use");
        fs::remove_file(&file).unwrap();
        expect(&mut passwords, Some(b"s3cret"), "the one before is in use");
        assert_eq!(
            passwords.complete(&name, config, &peer).config_mut().password.clone().unwrap().key,
            Some(Md5Key::new(b"s3cret").unwrap())
        );
        fs::write(&file, " n3w ").unwrap();
        expect(&mut passwords, Some(b" n3w "), "");
        passwords.forget(&name);
        assert!(passwords.changed().is_empty());
    }
}

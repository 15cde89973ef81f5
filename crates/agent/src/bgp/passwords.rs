//! Passwords of neighbours, read from the files and Secrets that their objects name.
//!
//! One that cannot be read, is empty or too long gives no key: there is no session then, and the
//! status says why. Once a key was read it stays in force until there is another one: a file
//! that is being replaced, or gone for a moment, ends no session.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use brindle_bgp_proto::speaker::transport::InvalidKey;
use brindle_bgp_speaker::{Md5Key, Password, PeerName};
use brindle_model::routing::{PasswordSource, Peer};

use super::{Neighbour, Secrets};

/// How often files are read again. A neighbour's own change must come within the hold time.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// More than any password has.
const MAX_FILE: u64 = 4096;

/// The neighbours that must have one.
#[derive(Clone, Debug, Default)]
pub(super) struct Passwords {
    neighbours: BTreeMap<PeerName, (PasswordSource, Neighbour)>,
    secrets: Secrets,
}

impl Passwords {
    /// No neighbour yet; Secrets are asked for there.
    pub fn new(secrets: Secrets) -> Self {
        Self { neighbours: BTreeMap::new(), secrets }
    }

    /// Adds the password to a neighbour's configuration, if its object names one.
    pub fn complete(&mut self, name: &PeerName, mut config: Neighbour, peer: &Peer) -> Neighbour {
        let Some(source) = &peer.settings.password else {
            self.forget(name);
            return config;
        };
        let earlier = self.neighbours.get_mut(name).filter(|(known, _)| known == source);
        let earlier = earlier.and_then(|(_, config)| config.config_mut().password.clone());
        config.config_mut().password = Some(read(source, &self.secrets, earlier.as_ref()));
        self.neighbours.insert(name.clone(), (source.clone(), config.clone()));
        config
    }

    /// The neighbour is gone or has none any more.
    pub fn forget(&mut self, name: &PeerName) {
        self.neighbours.remove(name);
    }

    /// Reads every one again; returns the neighbours whose password is not as it was.
    pub fn changed(&mut self) -> Vec<(PeerName, Neighbour)> {
        let sources = self.neighbours.values().map(|(source, _)| source);
        let secrets = sources.filter_map(|source| match source {
            PasswordSource::Secret { name, .. } => Some(name.clone()),
            PasswordSource::File(_) => None,
        });
        self.secrets.want(secrets.collect());
        let mut changed = Vec::new();
        for (name, (source, config)) in &mut self.neighbours {
            let known = &mut config.config_mut().password;
            let password = Some(read(source, &self.secrets, known.as_ref()));
            if *known != password {
                *known = password;
                changed.push((name.clone(), config.clone()));
            }
        }
        changed
    }
}

fn read(source: &PasswordSource, secrets: &Secrets, earlier: Option<&Password>) -> Password {
    let (key, place) = match source {
        PasswordSource::File(path) => {
            (file(path).map_err(|error| error.to_string()), path.display().to_string())
        }
        PasswordSource::Secret { name, key } => {
            let octets = secrets.get(name, key);
            let key = octets.and_then(|octets| md5_key(&octets).map_err(|e| e.to_string()));
            (key, format!("Secret {name}"))
        }
    };
    match key {
        Ok(key) => Password { key: Some(key), problem: None },
        Err(reason) => {
            let key = earlier.and_then(|password| password.key.clone());
            let mut problem = format!("cannot read the password from {place}: {reason}");
            if key.is_some() {
                problem += "; the one before is in use";
            }
            Password { key, problem: Some(problem) }
        }
    }
}

fn file(path: &Path) -> io::Result<Md5Key> {
    // Opening a FIFO would wait for somebody to write.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut octets = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut octets)?;
    md5_key(&octets).map_err(io::Error::other)
}

/// One end of a line is not part of a password.
fn md5_key(octets: &[u8]) -> Result<Md5Key, InvalidKey> {
    let password = octets.strip_suffix(b"\n").unwrap_or(octets);
    Md5Key::new(password.strip_suffix(b"\r").unwrap_or(password))
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
        let settings = PeerSettings {
            password: Some(PasswordSource::File(file.clone().into())),
            ..Default::default()
        };
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

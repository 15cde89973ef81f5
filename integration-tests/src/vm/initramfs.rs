//! The root of a virtual machine: programs of this machine with all that they load.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use brindle_lab::netns::run;

/// A folder that becomes the root.
#[derive(Debug)]
pub struct Root {
    folder: PathBuf,
}

impl Root {
    /// An empty one in a new folder.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where it is on this machine.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file of the machine.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &str, contents: &[u8]) -> Result<()> {
        fs::write(self.inside(path)?, contents).with_context(|| format!("write {path}"))
    }

    /// Copies a program to a path of the machine, and the libraries that it loads to their own.
    ///
    /// # Errors
    /// Something cannot be read.
    pub fn program(&self, from: &Path, path: &str) -> Result<()> {
        self.copy(from, path)?;
        for library in libraries(from)? {
            self.copy(&library, &library.to_string_lossy())?;
        }
        Ok(())
    }

    /// As [`Self::program`], for one that was built here: without what debuggers want, which is most
    /// of it.
    ///
    /// # Errors
    /// As [`Self::program`], or `strip` is missing, which comes with the linker.
    pub fn built(&self, from: &Path, path: &str) -> Result<()> {
        let to = self.inside(path)?;
        run("strip", &["-o", &to.to_string_lossy(), &from.to_string_lossy()])?;
        self.program(from, path)
    }

    /// Copies a program that the shell of this machine would find, and keeps its name: one binary
    /// may have many.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn tool(&self, name: &str) -> Result<()> {
        let found = find(name)?;
        let file = fs::canonicalize(&found)?;
        self.program(&file, &file.to_string_lossy())?;
        let link = self.inside(&format!("/usr/bin/{name}"))?;
        if !link.exists() {
            symlink(&file, &link).with_context(|| format!("link {}", link.display()))?;
        }
        Ok(())
    }

    /// Copies the extensions of iptables, which it loads by name.
    ///
    /// # Errors
    /// There is no iptables.
    pub fn iptables_extensions(&self) -> Result<()> {
        let libraries = libraries(&find("iptables")?)?;
        let library = libraries
            .iter()
            .find(|path| path.to_string_lossy().contains("libxtables"))
            .context("iptables does not load libxtables")?;
        // By the folder's own name, without links: that is the one which iptables was built with.
        let extensions = fs::canonicalize(library)?.with_file_name("xtables");
        for entry in fs::read_dir(&extensions).with_context(|| extensions.display().to_string())? {
            let path = entry?.path();
            self.program(&path, &path.to_string_lossy())?;
        }
        Ok(())
    }

    /// Writes the root as an archive that a kernel unpacks. It is not compressed: an emulated
    /// processor takes longer to undo that than qemu to load it.
    ///
    /// # Errors
    /// `cpio` is missing, or the disk is full.
    pub fn archive(&self, to: &Path) -> Result<()> {
        let file = fs::File::create(to).with_context(|| format!("make {}", to.display()))?;
        let mut names = Command::new("find")
            .args([".", "-print0"])
            .current_dir(&self.folder)
            .stdout(Stdio::piped())
            .spawn()
            .context("start find")?;
        let list = names.stdout.take().context("find has no output")?;
        let written = Command::new("cpio")
            .args(["--create", "--null", "--quiet", "--format", "newc"])
            .current_dir(&self.folder)
            .stdin(list)
            .stdout(file)
            .status()
            .context("start cpio; install the Debian package cpio")?;
        ensure!(names.wait()?.success(), "find failed");
        ensure!(written.success(), "cpio failed");
        Ok(())
    }

    fn copy(&self, from: &Path, path: &str) -> Result<()> {
        let to = self.inside(path)?;
        if to.exists() {
            return Ok(());
        }
        fs::copy(from, &to).with_context(|| format!("copy {}", from.display()))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// A path of the machine as one of this machine; its folder is there.
    fn inside(&self, path: &str) -> Result<PathBuf> {
        let path = self.folder.join(path.trim_start_matches('/'));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        Ok(path)
    }
}

fn find(name: &str) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin"]);
    let found = folders.map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    found.with_context(|| format!("there is no program {name}: install its Debian package"))
}

/// The shared libraries of a program, and what loads them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = run("ldd", &[&program.to_string_lossy()])
        .with_context(|| format!("what {} loads", program.display()))?;
    Ok(listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

//! The programs that can serve an end of a tunnel.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// An implementation of WireGuard in user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// This project's program.
    Kerntun,
    /// The reference implementation in Go, as distributions package it.
    WireguardGo,
}

impl Program {
    /// What to run.
    #[must_use]
    pub fn path(self) -> PathBuf {
        match self {
            Self::Kerntun => kerntun().to_owned(),
            Self::WireguardGo => "wireguard-go".into(),
        }
    }
}

/// The program under test: the one in `KERNTUN_PROGRAM` if that is set, else the one cargo makes of this workspace, in the same
/// profile as the test itself.
///
/// # Panics
/// If it does not compile.
#[must_use]
pub fn kerntun() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match env::var_os("KERNTUN_PROGRAM") {
        Some(program) => program.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    let test = env::current_exe().expect("the path of this test");
    // TARGET/PROFILE/deps/test-HASH
    let profile = test.ancestors().nth(2).expect("cargo's directories");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "kerntun", "--target-dir"]);
    cargo.arg(profile.parent().expect("cargo's directories"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(status.success(), "{cargo:?}: {status}");
    profile.join("kerntun")
}

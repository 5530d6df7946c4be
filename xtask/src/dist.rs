//! Building, gathering, packing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use crate::archive::{self, File, Files};
use crate::platform::Platform;
use crate::winget::{self, Release};
use crate::{Dist, licences};

/// What every archive has of the folder that is released.
const DOCUMENTS: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Why nothing could be released.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DistError {
    /// A program could not be started.
    #[error("cannot run {program}")]
    Run { program: String, source: io::Error },
    /// A program was started and failed.
    #[error("this failed: {what}")]
    Failed { what: String },
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cargo tells of the packages in a way that is not understood")]
    Metadata(#[source] serde_json::Error),
    #[error("nothing can be built for {0:?} on this computer; `--program` takes what was built elsewhere")]
    CannotBuild(Platform),
}

impl DistError {
    pub(crate) fn run(program: impl Into<String>, source: io::Error) -> Self {
        Self::Run {
            program: program.into(),
            source,
        }
    }

    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            source,
        }
    }

    fn write(path: &Path, source: io::Error) -> Self {
        Self::Write {
            path: path.to_owned(),
            source,
        }
    }
}

/// Makes the archives, their checksums, and the winget manifests.
pub(crate) fn make(arguments: &Dist) -> Result<(), DistError> {
    let workspace = workspace();
    let version = env!("CARGO_PKG_VERSION");
    let folder = format!("keyhaven-{version}");
    let time = source_date_epoch(&workspace)?;
    let platforms = if arguments.platforms.is_empty() {
        Platform::buildable()
    } else {
        arguments.platforms.clone()
    };
    fs::create_dir_all(&arguments.out).map_err(|source| DistError::write(&arguments.out, source))?;

    let mut checksums = Vec::new();
    for platform in platforms {
        let given = arguments.programs.iter().find(|(of, _)| *of == platform);
        let program = match given {
            Some((_, path)) => path.clone(),
            None => build(&workspace, platform, time)?,
        };
        let files = gather(&workspace, platform, &program, &folder)?;
        let packed = match platform {
            Platform::Windows => archive::zip(&files, time),
            Platform::Linux | Platform::Macos => archive::tar_gz(&files, time),
        };
        let name = format!("{folder}-{}", platform.suffix());
        let path = arguments.out.join(&name);
        let packed = packed.map_err(|source| DistError::write(&path, source))?;
        write(&path, &packed)?;
        let sha256 = hex::encode(Sha256::digest(&packed));
        if platform == Platform::Windows {
            let release = Release {
                version,
                date: &date(time),
                archive: &name,
                sha256: &sha256,
                folder: &folder,
                download_url: arguments.download_url.as_deref(),
            };
            write_manifests(&workspace, &arguments.out.join("winget"), &release)?;
        }
        println!("{sha256}  {}", path.display());
        checksums.push((name, sha256));
    }
    checksums.sort();
    let lines: String = checksums
        .iter()
        .map(|(name, sha256)| format!("{sha256}  {name}\n"))
        .collect();
    write(&arguments.out.join("SHA256SUMS"), lines.as_bytes())
}

/// Builds the program; returns where it is.
fn build(workspace: &Path, platform: Platform, time: u64) -> Result<PathBuf, DistError> {
    if !Platform::buildable().contains(&platform) {
        return Err(DistError::CannotBuild(platform));
    }
    if platform == Platform::Windows {
        let mut script = Command::new("scripts/build-windows");
        script.env("SOURCE_DATE_EPOCH", time.to_string());
        let told = output_of(script.current_dir(workspace), "scripts/build-windows")?;
        let told = String::from_utf8_lossy(&told).into_owned();
        return Ok(PathBuf::from(told.lines().last().unwrap_or_default()));
    }
    // A folder of its own: what is built for a release knows no path of this computer, and would be built over again
    // each time another build came between.
    let target = workspace.join("target").join("dist-build");
    let mut cargo = Command::new("cargo");
    cargo
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "keyhaven",
            "--target",
            platform.triple(),
        ])
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_ENCODED_RUSTFLAGS", path_flags(workspace).join("\x1f"))
        .env("SOURCE_DATE_EPOCH", time.to_string());
    output_of(cargo.current_dir(workspace), "cargo build")?;
    Ok(target
        .join(platform.triple())
        .join("release")
        .join(platform.program_name()))
}

/// Returns what keeps the paths of this computer out of a program.
fn path_flags(workspace: &Path) -> Vec<String> {
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let mut flags = vec![remap(workspace, "/keyhaven")];
    flags.extend(cargo_home.map(|home| remap(&home, "/cargo")));
    flags
}

/// Gathers what goes into an archive, all of it in one folder.
fn gather(workspace: &Path, platform: Platform, program: &Path, folder: &str) -> Result<Files, DistError> {
    let mut files = Files::new();
    let mut add = |name: &str, content: Vec<u8>, is_program| {
        files.insert(format!("{folder}/{name}"), File { content, is_program });
    };
    add(platform.program_name(), read(program)?, true);
    for name in DOCUMENTS {
        add(name, read(&workspace.join(name))?, false);
    }
    let terms = licences::collect(workspace, platform.triple())?;
    add("THIRD-PARTY-LICENCES.txt", terms.into_bytes(), false);
    // The program itself knows its verbs, which are not the same on every platform.
    for (shell, name) in platform.completions() {
        let script = ask(workspace, platform, program, &["completions", shell])?;
        add(&format!("completions/{name}"), script, false);
    }
    if platform.has_man_pages() {
        for (name, page) in manual_pages(workspace, platform, program)? {
            add(&format!("man/{name}"), page, false);
        }
    }
    Ok(files)
}

/// Has the program write all its manual pages; returns them by name.
fn manual_pages(
    workspace: &Path,
    platform: Platform,
    program: &Path,
) -> Result<Vec<(String, Vec<u8>)>, DistError> {
    let folder = workspace.join("target").join("dist-man");
    let failed = |source| DistError::write(&folder, source);
    // Pages of verbs that there are no more would be packed, too.
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fs::create_dir_all(&folder).map_err(failed)?;
    ask(
        workspace,
        platform,
        program,
        &["man", &folder.display().to_string()],
    )?;
    let mut pages = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|source| DistError::read(&folder, source))? {
        let path = entry.map_err(|source| DistError::read(&folder, source))?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        pages.push((name, read(&path)?));
    }
    Ok(pages)
}

/// Runs the program and returns what it prints; one of Windows under Wine.
fn ask(
    workspace: &Path,
    platform: Platform,
    program: &Path,
    arguments: &[&str],
) -> Result<Vec<u8>, DistError> {
    let is_foreign = platform == Platform::Windows && !cfg!(windows);
    let mut command = if is_foreign {
        let mut wine = Command::new("scripts/wine/run");
        wine.arg(program);
        wine
    } else {
        Command::new(program)
    };
    let what = format!("{} {}", program.display(), arguments.join(" "));
    output_of(command.args(arguments).current_dir(workspace), &what)
}

fn output_of(command: &mut Command, what: &str) -> Result<Vec<u8>, DistError> {
    // What it says beside its output is for whoever waits.
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|source| DistError::run(what, source))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(DistError::Failed {
            what: format!("{what} ({})", output.status),
        })
    }
}

fn write_manifests(workspace: &Path, out: &Path, release: &Release<'_>) -> Result<(), DistError> {
    fs::create_dir_all(out).map_err(|source| DistError::write(out, source))?;
    for (name, manifest) in winget::manifests(&workspace.join("packaging/winget"), release)? {
        write(&out.join(name), manifest.as_bytes())?;
    }
    Ok(())
}

/// Returns the time that everything is said to be made at, in seconds since 1970: that of the last commit, unless
/// `SOURCE_DATE_EPOCH` says otherwise.
fn source_date_epoch(workspace: &Path) -> Result<u64, DistError> {
    let told = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(told) => told,
        Err(_) => {
            let mut git = Command::new("git");
            git.args(["log", "-1", "--format=%ct"]).current_dir(workspace);
            String::from_utf8_lossy(&output_of(&mut git, "git log")?).into_owned()
        }
    };
    told.trim().parse().map_err(|_| DistError::Failed {
        what: format!("reading `{}` as seconds since 1970", told.trim()),
    })
}

fn date(time: u64) -> String {
    let time = Timestamp::from_second(i64::try_from(time).unwrap_or_default()).unwrap_or_default();
    TimeZone::UTC.to_datetime(time).date().to_string()
}

fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

fn read(path: &Path) -> Result<Vec<u8>, DistError> {
    fs::read(path).map_err(|source| DistError::read(path, source))
}

fn write(path: &Path, content: &[u8]) -> Result<(), DistError> {
    fs::write(path, content).map_err(|source| DistError::write(path, source))
}

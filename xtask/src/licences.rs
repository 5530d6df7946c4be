//! The terms of everything that is linked into the program: each text once, with the names of those it is for.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::dist::DistError;

/// What the names of files with terms begin with, in capitals.
const NAMES: [&str; 6] = [
    "LICENSE",
    "LICENCE",
    "COPYING",
    "COPYRIGHT",
    "NOTICE",
    "UNLICENSE",
];

/// Terms are texts of a few pages; what is longer is something else, in bytes.
const LEN_MAX: u64 = 512 * 1024;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// Nothing for what is linked in; `build` and `dev` for what is not.
    kind: Option<String>,
}

/// Returns the text of `THIRD-PARTY-LICENCES.txt` for the program on a platform.
pub(crate) fn collect(workspace: &Path, triple: &str) -> Result<String, DistError> {
    let asked = Command::new("cargo")
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--filter-platform",
            triple,
        ])
        .current_dir(workspace)
        .output()
        .map_err(|source| DistError::run("cargo metadata", source))?;
    if !asked.status.success() {
        return Err(DistError::Failed {
            what: format!(
                "cargo metadata: {}",
                String::from_utf8_lossy(&asked.stderr).trim()
            ),
        });
    }
    let metadata: Metadata = serde_json::from_slice(&asked.stdout).map_err(DistError::Metadata)?;
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut overview = BTreeSet::new();
    for package in linked_in(&metadata, "keyhaven") {
        // What has no source is our own.
        if package.source.is_none() {
            continue;
        }
        let name = format!("{} {}", package.name, package.version);
        let terms = package.license.as_deref().unwrap_or("see below");
        overview.insert(format!("{name}: {terms}"));
        for text in texts_of(package)? {
            texts.entry(text).or_default().insert(name.clone());
        }
    }
    Ok(render(&overview, &texts))
}

/// Walks from the program through all that is linked into it.
fn linked_in<'a>(metadata: &'a Metadata, program: &str) -> Vec<&'a Package> {
    let packages: HashMap<&str, &Package> = metadata
        .packages
        .iter()
        .map(|package| (package.id.as_str(), package))
        .collect();
    let nodes: HashMap<&str, &Node> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| (node.id.as_str(), node))
        .collect();
    let is_program = |package: &&&Package| package.name == program && package.source.is_none();
    let mut to_visit: VecDeque<&str> = packages
        .values()
        .filter(is_program)
        .map(|package| package.id.as_str())
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = to_visit.pop_front() {
        if !seen.insert(id) {
            continue;
        }
        let dependencies = nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default();
        let linked = dependencies
            .iter()
            .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none()));
        to_visit.extend(linked.map(|dependency| dependency.pkg.as_str()));
    }
    seen.into_iter()
        .filter_map(|id| packages.get(id).copied())
        .collect()
}

fn texts_of(package: &Package) -> Result<Vec<String>, DistError> {
    let Some(folder) = package.manifest_path.parent() else {
        return Ok(Vec::new());
    };
    let failed = |source| DistError::read(folder, source);
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        let metadata = entry.metadata().map_err(failed)?;
        let has_terms = NAMES.iter().any(|start| name.starts_with(start));
        if has_terms && metadata.is_file() && metadata.len() <= LEN_MAX {
            let text = std::fs::read(entry.path()).map_err(failed)?;
            // The same terms with other line ends are the same terms.
            let text = String::from_utf8_lossy(&text).replace("\r\n", "\n");
            texts.push(text.trim().to_owned());
        }
    }
    Ok(texts)
}

fn render(overview: &BTreeSet<String>, texts: &BTreeMap<String, BTreeSet<String>>) -> String {
    let mut out = String::from(
        "Keyhaven is made with the work of others. What is linked into it, and under which terms:\n\n",
    );
    for line in overview {
        out.push_str(&format!("  {line}\n"));
    }
    out.push_str(
        "\nBesides, the standard library of Rust (MIT OR Apache-2.0) and, on Windows, the run-time library of mingw-w64 \
         (public domain and ZPL-2.1) and libgcc (GPL-3.0 with the GCC Runtime Library Exception).\n",
    );
    for (text, names) in texts {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        out.push_str(&format!(
            "\n{}\n\n{}:\n\n{text}\n",
            "=".repeat(80),
            names.join(", ")
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_linked_in_is_named_and_nothing_else() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = collect(workspace, "x86_64-pc-windows-gnu").unwrap();
        let has = |name: &str| text.lines().any(|line| line.starts_with(&format!("  {name} ")));
        assert!(has("aes") && has("clap") && has("windows-sys"));
        assert!(!has("fuser"), "only Linux has it");
        assert!(
            !has("proptest") && !has("winresource"),
            "only tests and builds have them"
        );
        assert!(!has("keyhaven-disk"), "that is our own");
        assert!(text.contains("Permission is hereby granted"));
    }
}

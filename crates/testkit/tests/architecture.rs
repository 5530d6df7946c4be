//! The workspace keeps to its own architecture: who may import whom, and what libraries never do.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use serde::Deserialize;

/// The crates by folder name, lowest layer first. A crate imports only from layers below its own.
const LAYERS: &[&[&str]] = &[
    &["crypto", "disk"],
    &["fve"],
    &["attach", "windows", "account"],
    &["backup"],
    &["cli", "account-server", "xtask"],
];

/// The crate that only tests may depend on.
const TESTKIT: &str = "testkit";

/// Programs and test support: they may do what libraries may not.
const NOT_LIBRARIES: &[&str] = &["cli", "account-server", "xtask", TESTKIT];

/// What no library does, because it is the caller's to decide: print, end the process, know the time,
/// make randomness.
const FORBIDDEN_IN_LIBRARIES: &[&str] = &[
    "print !",
    "println !",
    "eprint !",
    "eprintln !",
    "io :: stdout",
    "io :: stderr",
    "process :: exit",
    "process :: abort",
    "SystemTime :: now",
    "Instant :: now",
    "Timestamp :: now",
    "Zoned :: now",
    "getrandom",
    "OsRng",
    "thread_rng",
];

/// What the format crate does not do either: it opens no path, reads no environment, starts no thread.
const FORBIDDEN_IN_FVE: &[&str] = &[
    "std :: fs",
    "fs ::",
    "File ::",
    "std :: env",
    "std :: net",
    "thread ::",
];

/// Where `unsafe` is opened once and for all; elsewhere a module says `// UNSAFETY:` and why.
const UNSAFE_FILES: &[&str] = &["crates/crypto/src/secret/locked.rs", "crates/crypto/src/arch/"];

#[test]
fn every_crate_has_a_layer() {
    for package in packages() {
        let known = package.folder() == TESTKIT || layer_of(&package.folder()).is_some();
        assert!(
            known,
            "{} has no layer: give it one here and in ARCHITECTURE.md",
            package.name
        );
    }
}

#[test]
fn crates_import_downwards_only() {
    let mut wrong = Vec::new();
    for package in packages() {
        let own_layer = layer_of(&package.folder());
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| dependency.path.is_some())
        {
            let imported = dependency.folder();
            // A crate's own tests may ask for a feature of it.
            let is_allowed = if imported == TESTKIT || imported == package.folder() {
                dependency.kind.as_deref() == Some("dev")
            } else {
                // Test support stands outside the layers, and imports none of them.
                own_layer.is_some() && layer_of(&imported) < own_layer
            };
            if !is_allowed {
                let kind = dependency.kind.as_deref().unwrap_or("normal");
                wrong.push(format!(
                    "{} imports {imported} ({kind} dependency)",
                    package.folder()
                ));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn every_crate_keeps_the_workspace_lints() {
    let lacks_them = |package: &Package| {
        let manifest = fs::read_to_string(&package.manifest_path).unwrap();
        !manifest.contains("[lints]\nworkspace = true")
    };
    let wrong: Vec<String> = packages()
        .into_iter()
        .filter(lacks_them)
        .map(|package| package.name)
        .collect();
    assert_none(&wrong);
}

#[test]
fn the_format_crate_forbids_unsafe_code() {
    let source = fs::read_to_string(workspace().join("crates/fve/src/lib.rs")).unwrap();
    assert!(
        source.contains("#![forbid(unsafe_code)]"),
        "crates/fve/src/lib.rs must forbid unsafe code"
    );
}

#[test]
fn unsafe_is_only_where_it_is_explained() {
    let mut wrong = Vec::new();
    for source in sources() {
        let is_open = UNSAFE_FILES.iter().any(|prefix| source.path.starts_with(prefix))
            || source.text.contains("// UNSAFETY:");
        if !is_open {
            wrong.extend(source.occurrences(&["unsafe"]));
        }
    }
    assert_none(&wrong);
}

#[test]
fn libraries_leave_the_world_to_their_callers() {
    let mut wrong = Vec::new();
    for source in sources() {
        let of_crate = source.crate_folder();
        if !NOT_LIBRARIES.contains(&of_crate) {
            wrong.extend(source.occurrences(FORBIDDEN_IN_LIBRARIES));
        }
        if of_crate == "fve" {
            wrong.extend(source.occurrences(FORBIDDEN_IN_FVE));
        }
    }
    assert_none(&wrong);
}

#[test]
fn no_file_names_a_registry_or_somebody_s_machine() {
    let Some(git) = keyhaven_testkit::tool::find("git") else {
        return;
    };
    let root = workspace();
    let listed = Command::new(git)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&root)
        .output()
        .unwrap();
    if !listed.status.success() {
        eprintln!("SKIPPED: this is not a git repository, so nobody knows which files belong to it");
        return;
    }

    // In two parts each, or this file would be the first finding.
    let mut patterns: Vec<String> = [
        ("/ro", "ot/"),
        ("crates", ".io"),
        ("py", "pi.org"),
        ("python", "hosted.org"),
        ("deb.debian", ".org"),
        ("archive.ubuntu", ".com"),
        ("registry.", "npmjs"),
    ]
    .iter()
    .map(|(one, two)| format!("{one}{two}"))
    .collect();
    // Made-up homes are fair in tests of mounts and paths; the home of whoever runs this is not.
    if let Some(home) = std::env::home_dir().filter(|home| home.components().count() > 1) {
        patterns.push(format!("{}/", home.display()));
    }
    // The path of this very checkout, unless it is so short that it means nothing.
    if root.components().count() > 2 {
        patterns.push(root.to_string_lossy().into_owned());
    }

    let mut wrong = Vec::new();
    for name in String::from_utf8_lossy(&listed.stdout).split_terminator('\0') {
        // The lock file names the registry by itself.
        if name.ends_with("Cargo.lock") {
            continue;
        }
        let Ok(content) = fs::read(root.join(name)) else {
            continue;
        };
        let text = String::from_utf8_lossy(&content);
        for (line_index, line) in text.lines().enumerate() {
            for pattern in patterns.iter().filter(|pattern| line.contains(pattern.as_str())) {
                wrong.push(format!("{name}:{}: {pattern}", line_index + 1));
            }
        }
    }
    assert_none(&wrong);
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    kind: Option<String>,
    path: Option<PathBuf>,
}

impl Package {
    fn folder(&self) -> String {
        file_name(self.manifest_path.parent().unwrap())
    }
}

impl Dependency {
    fn folder(&self) -> String {
        file_name(self.path.as_deref().unwrap())
    }
}

/// A file of a crate's own code.
struct Source {
    /// Relative to the workspace, with forward slashes.
    path: String,
    text: String,
    /// What is left without comments, strings' insides and code that is compiled for tests only.
    tokens: Vec<Token>,
}

struct Token {
    text: String,
    line: usize,
}

impl Source {
    fn crate_folder(&self) -> &str {
        self.path.trim_start_matches("crates/").split('/').next().unwrap()
    }

    /// Returns a finding for each place that has one of the patterns: tokens, separated by spaces.
    fn occurrences(&self, patterns: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for pattern in patterns {
            let wanted: Vec<&str> = pattern.split(' ').collect();
            for window in self.tokens.windows(wanted.len()) {
                if window
                    .iter()
                    .map(|token| token.text.as_str())
                    .eq(wanted.iter().copied())
                {
                    found.push(format!("{}:{}: {pattern}", self.path, window[0].line));
                }
            }
        }
        found
    }
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Metadata = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!metadata.packages.is_empty());
    metadata.packages
}

fn layer_of(folder: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&folder))
}

/// Returns every source file that is compiled into a crate outside of tests.
fn sources() -> Vec<Source> {
    let root = workspace();
    let mut files = BTreeMap::new();
    for package in packages() {
        collect_rust_files(&package.manifest_path.parent().unwrap().join("src"), &mut files);
    }

    let mut test_modules = Vec::new();
    let mut sources = Vec::new();
    for (path, text) in files {
        let stream: TokenStream = text
            .parse()
            .unwrap_or_else(|error| panic!("{} is not Rust: {error}", path.display()));
        let mut reader = TokenReader::default();
        reader.read(stream);
        test_modules.extend(
            reader
                .test_modules
                .iter()
                .flat_map(|name| module_files(&path, name)),
        );
        sources.push((path, text, reader.tokens));
    }

    sources.retain(|(path, ..)| !test_modules.iter().any(|module| path.starts_with(module)));
    assert!(!sources.is_empty());
    sources
        .into_iter()
        .map(|(path, text, tokens)| {
            let relative = path
                .strip_prefix(&root)
                .unwrap()
                .to_string_lossy()
                .replace('\\', "/");
            Source {
                path: relative,
                text,
                tokens,
            }
        })
        .collect()
}

fn collect_rust_files(folder: &Path, files: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            files.insert(path, text);
        }
    }
}

/// Returns where the code of `mod name;` in the file `parent` may be: a file or a folder.
fn module_files(parent: &Path, name: &str) -> [PathBuf; 2] {
    let stem = parent.file_stem().unwrap().to_string_lossy();
    let folder = match stem.as_ref() {
        "lib" | "main" | "mod" => parent.parent().unwrap().to_owned(),
        _ => parent.with_extension(""),
    };
    [folder.join(format!("{name}.rs")), folder.join(name)]
}

/// Flattens a file to its tokens, without what `#[cfg(test)]` stands before.
#[derive(Default)]
struct TokenReader {
    tokens: Vec<Token>,
    /// Modules in files of their own that exist only in tests.
    test_modules: Vec<String>,
}

impl TokenReader {
    fn read(&mut self, stream: TokenStream) {
        let mut trees = stream.into_iter().peekable();
        while let Some(tree) = trees.next() {
            if is_punctuation(&tree, '#')
                && let Some(TokenTree::Group(attribute)) = trees.peek()
                && is_cfg_test(attribute.stream())
            {
                trees.next();
                self.skip_item(&mut trees);
                continue;
            }
            self.push(tree);
        }
    }

    /// Passes over an item: up to its block in braces or its semicolon.
    fn skip_item(&mut self, trees: &mut impl Iterator<Item = TokenTree>) {
        let mut before: Vec<String> = Vec::new();
        for tree in trees {
            match &tree {
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return,
                TokenTree::Punct(punct) if punct.as_char() == ';' => {
                    if let [.., keyword, name] = before.as_slice()
                        && keyword == "mod"
                    {
                        self.test_modules.push(name.clone());
                    }
                    return;
                }
                _ => before.push(tree.to_string()),
            }
        }
    }

    fn push(&mut self, tree: TokenTree) {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => self.read(group.stream()),
            // A path separator is one token to a reader.
            TokenTree::Punct(punct)
                if punct.as_char() == ':' && self.tokens.last().is_some_and(|last| last.text == ":") =>
            {
                self.tokens.last_mut().unwrap().text.push(':');
            }
            other => self.tokens.push(Token {
                text: other.to_string(),
                line,
            }),
        }
    }
}

fn is_punctuation(tree: &TokenTree, wanted: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// Tells whether an attribute is `cfg(test)`, or `cfg(all(test, …))`.
fn is_cfg_test(attribute: TokenStream) -> bool {
    let text = attribute.to_string().replace(' ', "");
    text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

#[track_caller]
fn assert_none(findings: &[String]) {
    assert!(
        findings.is_empty(),
        "{} places break the rule:\n{}",
        findings.len(),
        findings.join("\n")
    );
}

#[test]
fn the_scan_sees_code_and_only_code() {
    let text = r#"
        // println!("a comment")
        const TEXT: &str = "println!()";
        fn one() { if true { println!("{}", 1) } }
        #[cfg(test)]
        mod tests { fn two() { println!() } }
        #[cfg(all(test, unix))]
        mod more_tests;
        fn three() { std::process::exit(1) }
    "#;
    let mut reader = TokenReader::default();
    reader.read(text.parse().unwrap());
    let source = Source {
        path: "crates/x/src/lib.rs".to_owned(),
        text: text.to_owned(),
        tokens: reader.tokens,
    };
    assert_eq!(
        source.occurrences(&["println !", "process :: exit"]),
        [
            "crates/x/src/lib.rs:4: println !",
            "crates/x/src/lib.rs:9: process :: exit"
        ]
    );
    assert_eq!(reader.test_modules, ["more_tests"]);
}

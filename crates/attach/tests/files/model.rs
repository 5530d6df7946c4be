//! What is put onto a file system, and what must be found there.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use keyhaven_attach::files::{Entry, FileTree, NodeId, NodeKind};

/// A folder: what is in it by name.
#[derive(Debug, Default, Clone)]
pub(crate) struct Folder(pub(crate) BTreeMap<String, Item>);

/// A file or a folder.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    File(Vec<u8>),
    Folder(Folder),
}

/// Numbers that are the same at every run.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Bytes that do not get shorter by packing.
    pub(crate) fn noise(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .take(len)
            .collect()
    }
}

/// Bytes that get shorter by packing.
pub(crate) fn text(len: usize) -> Vec<u8> {
    (0u32..)
        .flat_map(|line| format!("{line} lines were written before this one\n").into_bytes())
        .take(len)
        .collect()
}

impl Folder {
    /// A tree with every kind of name and size, and a folder of `many` files.
    pub(crate) fn varied(many: u32) -> Self {
        let mut top = Self::plain(many);
        // mtools cuts it to 16 bits.
        top.file("漢字 🎉.bin", Numbers::new(8).noise(9000));
        top
    }

    /// The same, of characters of 16 bits.
    pub(crate) fn plain(many: u32) -> Self {
        let mut numbers = Numbers::new(7);
        let mut top = Self::default();
        for len in [
            0, 1, 17, 511, 512, 513, 700, 4095, 4096, 4097, 65_535, 65_536, 65_537, 1_048_579,
        ] {
            top.file(&format!("{len} bytes.bin"), numbers.noise(len));
        }
        top.file("Größe äöü €.txt", text(5000));
        top.file("漢字.bin", numbers.noise(9000));
        top.file("UPPER.TXT", text(100));
        top.file("lower.txt", text(30));
        top.file(&format!("{}.txt", "long name ".repeat(20)), text(70_000));
        let deep = top.folder("folder").folder("in a folder").folder("in ä földer");
        deep.file("deep.bin", numbers.noise(3000));
        top.folder("empty folder");
        let folder = top.folder("many files");
        for index in 0..many {
            folder.file(
                &format!("file number {index:05}.txt"),
                index.to_string().into_bytes(),
            );
        }
        top
    }

    pub(crate) fn file(&mut self, name: &str, content: Vec<u8>) {
        self.0.insert(name.to_owned(), Item::File(content));
    }

    pub(crate) fn folder(&mut self, name: &str) -> &mut Self {
        let item = self
            .0
            .entry(name.to_owned())
            .or_insert_with(|| Item::Folder(Self::default()));
        match item {
            Item::Folder(folder) => folder,
            Item::File(_) => panic!("{name} is a file"),
        }
    }

    /// What is in a folder of this computer.
    pub(crate) fn read_from(path: &Path) -> Self {
        let mut folder = Self::default();
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                *folder.folder(&name) = Self::read_from(&entry.path());
            } else {
                folder.file(&name, fs::read(entry.path()).unwrap());
            }
        }
        folder
    }

    /// Writes all of it into a folder of this computer.
    pub(crate) fn write_to(&self, path: &Path) {
        for (name, item) in &self.0 {
            let path = path.join(name);
            match item {
                Item::File(content) => fs::write(path, content).unwrap(),
                Item::Folder(folder) => {
                    fs::create_dir(&path).unwrap();
                    folder.write_to(&path);
                }
            }
        }
    }

    /// Checks that a tree has exactly this.
    pub(crate) fn check(&self, tree: &dyn FileTree) {
        self.check_below(tree, tree.root(), "");
    }

    fn check_below(&self, tree: &dyn FileTree, node: NodeId, path: &str) {
        let entries = entries(tree, node);
        let found: Vec<&str> = entries.keys().map(String::as_str).collect();
        let expected: Vec<&str> = self.0.keys().map(String::as_str).collect();
        assert_eq!(found, expected, "the names in {path}/");
        let mut numbers = Numbers::new(entries.len() as u64);
        for (name, item) in &self.0 {
            let entry = &entries[name];
            let path = format!("{path}/{name}");
            // Not all of thousands: that is the file system's own work.
            if self.0.len() < 100 || numbers.below(20) == 0 {
                assert_eq!(tree.lookup(node, name).unwrap(), Some(entry.node), "{path}");
                let other_case = if name.chars().any(char::is_uppercase) {
                    name.to_lowercase()
                } else {
                    name.to_uppercase()
                };
                assert_eq!(
                    tree.lookup(node, &other_case).unwrap(),
                    Some(entry.node),
                    "{path}"
                );
            }
            match item {
                Item::File(content) => check_file(tree, entry, content, &path),
                Item::Folder(folder) => {
                    assert_eq!(entry.kind, NodeKind::Directory, "{path}");
                    assert_eq!(tree.attributes(entry.node).unwrap().kind, NodeKind::Directory);
                    assert!(tree.read(entry.node, 0, &mut [0; 8]).is_err());
                    folder.check_below(tree, entry.node, &path);
                }
            }
        }
        assert_eq!(tree.lookup(node, "no such name").unwrap(), None);
        assert_eq!(tree.lookup(node, "").unwrap(), None);
    }
}

/// What a directory has, by name.
pub(crate) fn entries(tree: &dyn FileTree, directory: NodeId) -> BTreeMap<String, Entry> {
    let mut entries = BTreeMap::new();
    tree.list(directory, &mut |entry| {
        let name = entry.name.clone();
        assert!(
            entries.insert(entry.name.clone(), entry).is_none(),
            "{name} is listed twice"
        );
        ControlFlow::Continue(())
    })
    .unwrap();
    entries
}

/// Checks a file's length and content, from its start and at places here and there.
pub(crate) fn check_file(tree: &dyn FileTree, entry: &Entry, content: &[u8], path: &str) {
    assert_eq!(entry.kind, NodeKind::File, "{path}");
    let attributes = tree.attributes(entry.node).unwrap();
    assert_eq!(attributes.kind, NodeKind::File, "{path}");
    assert_eq!(attributes.len_bytes, content.len() as u64, "{path}");
    assert!(attributes.modified.is_some(), "{path}");
    assert!(
        whole(tree, entry.node) == content,
        "{path} is not what was written"
    );

    let mut numbers = Numbers::new(content.len() as u64);
    for _ in 0..10 {
        let offset = numbers.below(content.len() as u64 + 10);
        let mut buf = vec![0xAA; numbers.below(100_000) as usize];
        let count = tree.read(entry.node, offset, &mut buf).unwrap();
        let rest = content.get(offset as usize..).unwrap_or_default();
        assert_eq!(count, rest.len().min(buf.len()), "{path}");
        assert!(buf[..count] == rest[..count], "{path} from byte {offset} on");
    }
}

/// Reads a file from its start to its end, in pieces that fit nothing.
pub(crate) fn whole(tree: &dyn FileTree, node: NodeId) -> Vec<u8> {
    let mut whole = Vec::new();
    let mut buf = vec![0; 77_777];
    loop {
        let count = tree.read(node, whole.len() as u64, &mut buf).unwrap();
        whole.extend_from_slice(&buf[..count]);
        if count < buf.len() {
            return whole;
        }
    }
}

/// Follows names from the top.
pub(crate) fn find(tree: &dyn FileTree, path: &str) -> NodeId {
    path.split('/').fold(tree.root(), |node, name| {
        tree.lookup(node, name)
            .unwrap()
            .unwrap_or_else(|| panic!("{name} of {path} is not there"))
    })
}

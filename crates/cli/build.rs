//! Gives `keyhaven.exe` what Windows shows of a program, and the manifest that says what it can.
//!
//! Other systems have nothing of the kind, and this does nothing there.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=keyhaven.exe.manifest");
    // The system that is built for, not the one that builds.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("windows") {
        return;
    }
    // Language, name and version are taken from Cargo.toml.
    let mut resource = winresource::WindowsResource::new();
    resource
        .set("ProductName", "Keyhaven")
        .set("FileDescription", env!("CARGO_PKG_DESCRIPTION"))
        .set("CompanyName", env!("CARGO_PKG_AUTHORS"))
        .set(
            "LegalCopyright",
            concat!("Under the terms of ", env!("CARGO_PKG_LICENSE")),
        )
        .set("OriginalFilename", "keyhaven.exe")
        .set_manifest_file("keyhaven.exe.manifest");
    if let Err(error) = resource.compile() {
        println!("cargo:warning=keyhaven.exe goes without a version: {error}");
    }
}

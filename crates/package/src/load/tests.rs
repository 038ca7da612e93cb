//! Loading from folders: sources, files and errors as Spin has them.

use fs_err as fs;
use gyre_model::Digest;

use super::*;
use crate::testing::{Folder, chain, tree};

const NO_SUCH_FILE: &str = "No such file or directory (os error 2)";

#[tokio::test]
async fn an_application_is_loaded_with_its_code_its_origin_and_its_settings() {
    let folder = Folder::new(
        "spin_manifest_version = 2\n[application]\nname = \"hello\"\nversion = \"0.1.0\"\n\
         [application.tool.gyre]\nhealth-path = \"/up\"\n\
         [[trigger.http]]\nroute = \"/...\"\ncomponent = { source = \"a.wasm\" }\n",
    )
    .write("app/a.wasm", "code");
    let app = folder.load().await.unwrap();
    assert_eq!((app.locked.name(), app.locked.version()), ("hello", Some("0.1.0")));
    assert_eq!(app.settings.health_path.as_deref(), Some("/up"));
    assert!(app.mounts.is_empty());
    let id = &app.locked.components[0].id;
    let wasm = &app.wasm[id];
    assert_eq!(wasm.digest, Digest::of("code"));
    assert_eq!(wasm.path, folder.path("app/a.wasm"));
    let origin = app.locked.metadata["origin"].as_str().unwrap();
    let manifest = folder.path("app/spin.toml");
    assert_eq!(url::Url::parse(origin).unwrap().to_file_path().unwrap(), manifest);
    let source = app.locked.components[0].source.content.source.as_deref().unwrap();
    assert!(source.starts_with("file:///") && source.ends_with("/app/a.wasm"), "{source}");
}

#[tokio::test]
async fn a_missing_wasm_file_is_named_and_so_is_its_place_in_the_manifest() {
    let folder = Folder::of_one("");
    fs::remove_file(folder.path("app/a.wasm")).unwrap();
    let err = folder.load().await.unwrap_err();
    let texts = chain(&err);
    let path = folder.path("app/a.wasm");
    assert_eq!(
        texts[1..],
        [
            "Failed to load component `a`".to_owned(),
            "Failed to load Wasm source \"a.wasm\"".to_owned(),
            format!("failed to open file `{}`: {NO_SUCH_FILE}", path.display()),
        ]
    );
    assert!(texts[0].starts_with("Failed to load Spin app from \"/"), "{}", texts[0]);
    let manifest = fs::read_to_string(folder.path("app/spin.toml")).unwrap();
    assert!(manifest[err.span().unwrap()].contains("a.wasm"));
}

#[tokio::test]
async fn a_missing_or_wrong_manifest_is_said_to_be_so() {
    let folder = Folder::of_one("");
    let options = folder.options();
    let err = from_manifest(&folder.path("none.toml"), options).await.unwrap_err();
    let texts = chain(&err);
    assert!(texts[0].starts_with("Failed to read Spin app manifest from "), "{texts:?}");
    assert!(texts.last().unwrap().ends_with(NO_SUCH_FILE), "{texts:?}");
    let err = Folder::new("nonsense = [").load().await.unwrap_err();
    assert!(matches!(err, LoadError::Manifest { .. }), "{err:?}");
}

#[tokio::test]
async fn text_is_compiled_and_its_mistakes_are_shown() {
    let folder = Folder::new(
        "spin_manifest_version = 2\n[application]\nname = \"x\"\n[[trigger.http]]\nroute = \"/\"\n\
         component = \"a\"\n[component.a]\nsource = \"a.wat\"\n",
    )
    .write("app/a.wat", "(component)");
    let app = folder.load().await.unwrap();
    let code = fs::read(&app.wasm["a"].path).unwrap();
    assert_eq!(&code[..4], b"\0asm");
    assert_eq!(app.wasm["a"].digest, Digest::of(&code));

    let folder = folder.write("app/a.wat", "(component");
    let texts = chain(&folder.load().await.unwrap_err());
    assert_eq!(texts[3], "the WebAssembly text does not compile");
    assert!(texts[4].contains("a.wat:1"), "{texts:?}");
}

#[tokio::test]
async fn a_bare_component_gets_all_requests() {
    let folder = Folder::of_one("").write("hello.wat", "(component)");
    let app = from_wasm(&folder.path("app/a.wasm"), &folder.path("cache")).await.unwrap();
    assert_eq!(app.locked.name(), "a");
    let trigger = &app.locked.triggers[0];
    assert_eq!(trigger.trigger_type, "http");
    assert_eq!(trigger.trigger_config["route"], "/...");
    let component = trigger.trigger_config["component"].as_str().unwrap();
    assert_eq!(app.wasm[component].digest, Digest::of("code"));

    let app = from_wasm(&folder.path("hello.wat"), &folder.path("cache")).await.unwrap();
    let code = fs::read(&app.wasm[component].path).unwrap();
    assert_eq!((app.locked.name(), &code[..4]), ("hello", &b"\0asm"[..]));

    let err = from_wasm(&folder.path("none.wasm"), &folder.path("cache")).await.unwrap_err();
    assert!(chain(&err).last().unwrap().ends_with(NO_SUCH_FILE), "{err:?}");
}

#[tokio::test]
async fn a_bare_component_is_the_application_that_a_manifest_with_it_inline_is() {
    let folder = Folder::new(
        "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\nroute = \"/...\"\n\
         component = { source = \"a.wasm\" }\n",
    )
    .write("app/a.wasm", "code");
    let mut written = folder.load().await.unwrap();
    written.locked.metadata.shift_remove("origin");
    let bare = from_wasm(&folder.path("app/a.wasm"), &folder.path("cache")).await.unwrap();
    assert_eq!(bare.locked, written.locked);
}

#[tokio::test]
async fn files_are_copied_by_path_by_folder_by_pattern_and_by_placement() {
    let folder = Folder::of_one(
        r#"files = ["one.txt", "folder", "img/*.png", "**/*.deep",
            { source = "one.txt", destination = "/placed/two.txt" },
            { source = "folder", destination = "/" }, { source = "../beside", destination = "b" }]"#,
    )
    .write("app/one.txt", "1")
    .write("app/folder/f", "f")
    .write("app/folder/sub/.hidden", "h")
    .write("app/img/a.png", "png")
    .write("app/img/a.jpg", "jpg")
    .write("app/img/sub/b.png", "png")
    .write("app/x/y/z.deep", "deep")
    .write("beside/s", "s");
    fs::create_dir_all(folder.path("app/folder/empty")).unwrap();
    assert_eq!(
        folder.names().await,
        [
            "b/s",
            "f",
            "folder/f",
            "folder/sub/.hidden",
            "img/a.png",
            "one.txt",
            "placed/two.txt",
            "sub/.hidden",
            "x/y/z.deep",
        ]
    );
    let app = folder.load().await.unwrap();
    assert_eq!(app.mounts["a"][0].guest, "/");
    assert_eq!(app.locked.components[0].files[0].path, "/");
    assert!(!folder.path("work/assets/a/folder/empty").exists());
}

#[tokio::test]
async fn excluded_files_are_left_out_by_their_path_in_the_application() {
    let folder = Folder::of_one(
        r#"files = ["**/*.txt", { source = "lib", destination = "l" }]
           exclude_files = ["secret/**/*", "*.bak.txt", "lib/x"]"#,
    )
    .write("app/a.txt", "")
    .write("app/a.bak.txt", "")
    .write("app/sub/b.bak.txt", "")
    .write("app/secret/s.txt", "")
    .write("app/lib/x", "")
    .write("app/lib/y", "");
    assert_eq!(folder.names().await, ["a.txt", "l/y"]);
}

#[tokio::test]
async fn patterns_work_in_a_folder_whose_own_name_looks_like_one() {
    let folder = Folder::of_one(r#"files = ["s/*"]"#);
    let odd = folder.path("[odd] *name?");
    fs::rename(folder.path("app"), &odd).unwrap();
    fs::create_dir(odd.join("s")).unwrap();
    fs::write(odd.join("s/f"), "f").unwrap();
    let app = from_manifest(&odd.join("spin.toml"), folder.options()).await.unwrap();
    assert_eq!(tree(&app.mounts["a"][0].host), [("s/f".to_owned(), b"f".to_vec())]);
}

#[tokio::test]
async fn entries_of_files_that_cannot_be_meant_are_refused_in_spins_words() {
    let outside = "cannot be mapped because it is outside the application directory. Files must be within the \
                   application directory.";
    for (entry, text) in [
        (r#""nope""#, "\"nope\" does not exist and doesn't appear to be a glob pattern"),
        (r#""../beside/*""#, outside),
        (r#""/etc/hosts""#, outside),
        (r#"{ source = "/", destination = "/" }"#, outside),
        (r#"{ source = "/etc/hosts", destination = "/x" }"#, outside),
        (r#"{ source = "none", destination = "/" }"#, "File or directory \"none\" does not exist"),
        (r#"{ source = "f", destination = "/" }"#, "\"/\" is not a valid destination file name"),
        (r#"{ source = "f", destination = "d/" }"#, "\"d/\" is not a valid destination file name"),
        (
            r#"{ source = "f", destination = "../x" }"#,
            "\"../x\" is not a valid destination file name",
        ),
    ] {
        let folder = Folder::of_one(&format!("files = [{entry}]"))
            .write("app/f", "")
            .write("app/a/x", "")
            .write("beside/s", "");
        let err = folder.load().await.unwrap_err();
        let texts = chain(&err);
        assert_eq!(texts[1], "Failed to load component `a`");
        assert!(texts[2].contains(text), "{entry}: {texts:?}");
        assert_eq!(tree(&folder.path("work")), []);
        let manifest = fs::read_to_string(folder.path("app/spin.toml")).unwrap();
        assert_eq!(&manifest[err.span().unwrap()], entry);
    }
    let folder = Folder::of_one("files = [\"f\"]\nexclude_files = [\"a***\"]").write("app/f", "");
    let texts = chain(&folder.load().await.unwrap_err());
    assert!(texts[2].starts_with("Invalid exclude_files glob pattern \"a***\""), "{texts:?}");
}

#[tokio::test]
async fn direct_mounts_show_folders_where_they_are_and_nothing_else() {
    let folder = Folder::of_one(r#"files = ["s", { source = "t", destination = "/" }]"#)
        .write("app/s/f", "")
        .write("app/t/f", "");
    let app = folder.load_directly().await.unwrap();
    let mounts: Vec<_> =
        app.mounts["a"].iter().map(|m| (m.host.clone(), m.guest.as_str())).collect();
    assert_eq!(mounts, [(folder.path("app/s"), "/s"), (folder.path("app/t"), "/")]);
    assert!(!folder.path("work").exists());

    let texts = |folder: Folder| async move { chain(&folder.load_directly().await.unwrap_err()) };
    let file = Folder::of_one("files = [\"f\"]").write("app/f", "");
    assert_eq!(
        texts(file).await[2],
        "Only directory mounts are supported with `--direct-mounts`; \"f\" is not a directory."
    );
    let excluding = Folder::of_one("files = [\"s\"]\nexclude_files = [\"x\"]").write("app/s/f", "");
    assert_eq!(
        texts(excluding).await[2],
        "Cannot load a component with `exclude_files` using --direct-mounts"
    );
}

const TWO: &str = "spin_manifest_version = 2\n[application]\nname = \"two\"\n\
    [[trigger.http]]\nroute = \"/a\"\ncomponent = \"a\"\n[[trigger.http]]\nroute = \"/b\"\ncomponent = \"b\"\n\
    [component.a]\nsource = \"a.wasm\"\n\
    [component.b]\nsource = \"missing.wasm\"\nallowed_outbound_hosts = [\"http://a.spin.internal\"]\n\
    [component.b.profile.debug]\nsource = \"a.wasm\"\n";

#[tokio::test]
async fn only_the_components_that_were_asked_for_are_loaded() {
    let folder = Folder::new(TWO).write("app/a.wasm", "code");
    let load = |ids: &[&str]| {
        let component_ids = Some(ids.iter().map(ToString::to_string).collect());
        let options = LoadOptions { component_ids, ..folder.options() };
        let path = folder.path("app/spin.toml");
        async move { from_manifest(&path, options).await }
    };
    let app = load(&["a"]).await.unwrap();
    assert_eq!(app.wasm.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(app.locked.triggers.len(), 1);
    assert_eq!(load(&["nope"]).await.unwrap_err().to_string(), "no such component \"nope\"");
    let err = load(&["b"]).await.unwrap_err().to_string();
    assert!(err.contains("cannot use service chaining to unselected component"), "{err}");
}

#[tokio::test]
async fn a_profile_changes_what_is_loaded() {
    let folder = Folder::new(TWO).write("app/a.wasm", "code");
    let options = LoadOptions { profile: Some("debug".into()), ..folder.options() };
    let mut app = from_manifest(&folder.path("app/spin.toml"), options).await.unwrap();
    assert_eq!(app.wasm["b"].digest, Digest::of("code"));
    retain_components(&mut app, &["a".to_owned()]).unwrap();
    assert_eq!((app.wasm.len(), app.locked.components.len()), (1, 1));
    let options = LoadOptions { profile: Some("none".into()), ..folder.options() };
    let err = from_manifest(&folder.path("app/spin.toml"), options).await.unwrap_err();
    assert!(chain(&err)[1].contains("Profile none is not defined in this application"));
}

#[tokio::test]
async fn a_package_without_a_registry_is_refused() {
    let folder = Folder::new(
        "spin_manifest_version = 2\n[application]\nname = \"x\"\n[[trigger.http]]\nroute = \"/\"\n\
         component = \"a\"\n[component.a]\nsource = { package = \"ns:name\", version = \"1.0.0\" }\n",
    );
    let texts = chain(&folder.load().await.unwrap_err());
    assert_eq!(
        texts[1..],
        [
            "Failed to load Wasm source \"ns:name@1.0.0\" from default registry",
            "No default registry specified for wasm-pkg-loader. Create a default config, or set `registry` for package \"ns:name\"",
        ]
    );
}

#[tokio::test]
async fn dependencies_are_found_beside_the_component() {
    let folder = Folder::of_one("[component.a.dependencies]\nfoo = { path = \"foo.wasm\" }")
        .write("app/foo.wasm", "foo");
    let app = folder.load().await.unwrap();
    let content = &app.locked.components[0].dependencies["foo"].source.content;
    assert_eq!(content.digest, Some(Digest::of("foo").to_string()));
    assert!(content.source.as_deref().unwrap().ends_with("/app/foo.wasm"));
    fs::remove_file(folder.path("app/foo.wasm")).unwrap();
    let texts = chain(&folder.load().await.unwrap_err());
    assert_eq!(texts[2], "Failed to load component dependency `foo` for `a`");
    assert!(texts.last().unwrap().ends_with(NO_SUCH_FILE), "{texts:?}");
}

mod downloads {
    use super::*;
    use crate::registry::double::{Answer, Double};

    fn folder(url: &str, digest: &str) -> Folder {
        Folder::new(&format!(
            "spin_manifest_version = 2\n[application]\nname = \"x\"\n[[trigger.http]]\nroute = \"/\"\n\
             component = \"a\"\n[component.a]\nsource = {{ url = \"{url}\", digest = \"{digest}\" }}\n"
        ))
    }

    #[tokio::test]
    async fn a_download_is_verified_and_kept_under_its_digest() {
        let server = Double::start().await;
        server.when("GET /a.wasm", Answer::status(200).body("code"));
        let digest = Digest::of("code");
        let folder = folder(&format!("{}a.wasm", server.url()), &digest.to_string());
        let app = folder.load().await.unwrap();
        assert_eq!(app.wasm["a"].digest, digest);
        assert_eq!(fs::read(&app.wasm["a"].path).unwrap(), b"code");
        folder.load().await.unwrap();
        assert_eq!(server.requests(), ["GET /a.wasm"]);
        // A cache that somebody wrote to is not believed.
        fs::write(&app.wasm["a"].path, "evil").unwrap();
        folder.load().await.unwrap();
        assert_eq!(fs::read(&app.wasm["a"].path).unwrap(), b"code");
    }

    #[tokio::test]
    async fn a_download_that_is_something_else_is_refused_and_not_kept() {
        let server = Double::start().await;
        server.when("GET /a.wasm", Answer::status(200).body("other"));
        let digest = Digest::of("code");
        let wrong = folder(&format!("{}a.wasm", server.url()), &digest.to_string());
        let texts = chain(&wrong.load().await.unwrap_err());
        let expected = format!(
            "invalid content digest; expected {digest}, downloaded {}",
            Digest::of("other")
        );
        assert_eq!(texts.last().unwrap(), &expected);
        assert_eq!(tree(&wrong.path("cache")), []);

        let missing = folder(&format!("{}none.wasm", server.url()), &digest.to_string());
        let texts = chain(&missing.load().await.unwrap_err());
        assert!(texts[2].starts_with("Error fetching source URL \"http://"), "{texts:?}");
        assert!(texts[3].contains("404"), "{texts:?}");
    }

    #[tokio::test]
    async fn a_digest_that_is_none_is_refused_before_anything_is_asked() {
        let short = folder("http://127.0.0.1:9/a", "sha256:00");
        let err = short.load().await.unwrap_err();
        assert!(chain(&err).last().unwrap().contains("sha256:"), "{:?}", chain(&err));
        let other = folder("http://127.0.0.1:9/a", "md5:00").load().await.unwrap_err();
        assert!(chain(&other).last().unwrap().contains("must start with 'sha256:'"));
    }
}

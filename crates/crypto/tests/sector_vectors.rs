//! Every cipher against sectors that Windows wrote: on the path that the processor would choose, and on
//! every other that it has.
//!
//! Source: format spec 9.5, which gives keys and hashes of the encrypted and the decrypted sector; boot sectors of
//! NTFS unless said otherwise. A volume's key is named after its encryption method.

use keyhaven_crypto::paths::Path;
use keyhaven_crypto::{Secret, SectorCipher, SectorSize, sha256};

const SIZE: SectorSize = SectorSize::B512;

#[test]
fn method_8000_aes_cbc_128_diffuser() {
    let key = concat!(
        "15d83d3e00aad7c14ddf81a2fbc7cfab16e967d160a071c419fd96cf76bb9409",
        "6dd95e9665c3cb38a5d3d5661980dd4fa0c884ff0b1db1d18c3c75d6707df93c",
    );
    assert_sector(
        |path| path.aes_cbc_128_diffuser(&part(key, 0), &part(key, 32), SIZE),
        &SectorCipher::aes_cbc_128_diffuser(&part(key, 0), &part(key, 32), SIZE),
        0x2000,
        SECTOR_8000,
        "1677682db0cc79d6cfb10f6d517bac70f1eec7fcd52f079d58ecd1462a5bbec3",
        "3dc5cc4b179b44efffb8bd17ae46e0648955d7181486ea1df3e0c2a9ac557ca1",
    );
}

#[test]
fn method_8001_aes_cbc_256_diffuser() {
    let key = concat!(
        "3a600625f8fd5cc506cf8b30c8ca0600cc32f0c6b54c140789f7518c4fb5c71b",
        "a272f34f1a920d5be247298b5d233ce6199023c24d0aefec28717232f9894d1f",
    );
    assert_sector(
        |path| path.aes_cbc_256_diffuser(&part(key, 0), &part(key, 32), SIZE),
        &SectorCipher::aes_cbc_256_diffuser(&part(key, 0), &part(key, 32), SIZE),
        0x298_a000,
        SECTOR_8001,
        "20d70c5ac62ca0d1f4b611cf317b01007fef45f5793e8b391c143604ed441e14",
        "d62b8dfa4eb68d5507bc446cb34cd1d5bc1a2425c2dd609c9920c5ec9d87308d",
    );
}

#[test]
fn method_8002_aes_cbc_128() {
    let key = "84c3a3157e5f21dee140005220bc940e";
    assert_sector(
        |path| path.aes_cbc_128(&part(key, 0), SIZE),
        &SectorCipher::aes_cbc_128(&part(key, 0), SIZE),
        0x220_0000,
        SECTOR_8002,
        "90716bf415bdb6d79a64a57f8e50812541e5a3ba0c6afc565108bcd36620619f",
        "330ae9824fdd919fbe5c0eb7f48c9f9df2a002557eb5daa2f8be93d25f4dccc5",
    );
}

#[test]
fn method_8003_aes_cbc_256() {
    let key = "dd3885ef9948c8dc6ad1b54a6c4a4b6fb74b44d1d9775ac7ed186c35f1b59022";
    assert_sector(
        |path| path.aes_cbc_256(&part(key, 0), SIZE),
        &SectorCipher::aes_cbc_256(&part(key, 0), SIZE),
        0x220_0000,
        SECTOR_8003,
        "37775e181e37f1e36550ea0fd003401360e984b7b5614212a88d77ea1ccf78eb",
        "1c9af69f51facaf1588143be07b2bffe0bfd4be0036b3d569e13f68020a7e469",
    );
}

#[test]
fn method_8004_aes_xts_128() {
    let key = "4eb949c473f0edfc379ad041670ddb9c4da0abdb4482a2c8bb47250493aa1ed5";
    assert_sector(
        |path| path.aes_xts_128(&part(key, 0), &part(key, 16), SIZE),
        &SectorCipher::aes_xts_128(&part(key, 0), &part(key, 16), SIZE),
        0x220_0000,
        SECTOR_8004,
        "bba8430872d31d2cd4088d748cda37d7bae7b3a96a6c96793e0568665be86983",
        "01a264035f380f8edef7f377747cd4dbacff4be8fee23d6e9b8021766c9a3c0f",
    );
}

// Of this sector only the beginning is on record. XTS encrypts a block without regard to those after it.
#[test]
fn method_8005_aes_xts_256() {
    let key = concat!(
        "c74002df41f5eadeee2549fc009233a2a510726ce08736aba2f84a52ac6e7bbc",
        "56b8a824a4dc26cf9c4c2926386319d17427998e045ebfdc789e328e0dc97da4",
    );
    let beginning = hex::decode("d14389175de9e1ad3b7d9bd4605e1688").expect("hex");
    for path in Path::ALL {
        let Some(cipher) = path.aes_xts_256(&part(key, 0), &part(key, 32), SIZE) else {
            continue;
        };
        let mut sector = [0; 512];
        sector[..16].copy_from_slice(&beginning);
        cipher.decrypt(0x220_0000, &mut sector);
        assert_eq!(hex::encode(&sector[..16]), "eb52904e544653202020200002080000");
        cipher.encrypt(0x220_0000, &mut sector);
        assert_eq!(sector[..16], beginning);
    }
}

/// Cuts a key of `N` bytes out of a volume's key, from byte `start` on.
fn part<const N: usize>(key: &str, start: usize) -> Secret<N> {
    let key = hex::decode(key).expect("hex");
    Secret::from_slice(&key[start..start + N]).expect("as long as asked for")
}

/// Checks that each cipher decrypts the sector to the known plaintext and encrypts it back.
#[track_caller]
fn assert_sector(
    on: impl Fn(Path) -> Option<SectorCipher>,
    chosen: &SectorCipher,
    offset: u64,
    sector: &str,
    encrypted: &str,
    decrypted: &str,
) {
    let ciphertext = hex::decode(sector).expect("hex");
    assert_eq!(ciphertext.len(), SIZE.bytes());
    assert_eq!(hex::encode(sha256(&ciphertext)), encrypted);
    let assert = |cipher: &SectorCipher, path| {
        let mut run = ciphertext.clone();
        cipher.decrypt(offset, &mut run);
        assert_eq!(hex::encode(sha256(&run)), decrypted, "{cipher:?}, {path:?}");
        cipher.encrypt(offset, &mut run);
        assert_eq!(run, ciphertext, "{cipher:?}, {path:?}");
    };
    assert(chosen, None);
    for path in Path::ALL {
        if let Some(cipher) = on(path) {
            assert(&cipher, Some(path));
        }
    }
}

/// A sector of $Secure on a Windows Vista volume, AES-CBC 128 with the diffuser.
const SECTOR_8000: &str = "\
    aa9ef6008bb7b0fb4ac57a541a0c9731966472e274f0c7ed24c1c0f4ab4f64acc826664dca77f3d2d6444edabbccc13c\
    0186c99487690145762733f39010e27ac97704d2bd38d8e6dfab4dbc8e20517d4ac13520ce17561b47ba4e114dcff92c\
    5d30655dfcb1d12df62f827b8e3e0b12c3d690df95e69ac0b1c64174c47e3021e10f87149fa3dba2324d062e1f658542\
    94073abbf6187b7606d1ce16c952161cca015139b31af56b4cf7378bff7cadb77633b9e85a8fe535de5b2586b1a9fbe4\
    4506e9f1ee4c99a2ae5fb9c5811ca7dd7918cd1978303c6e9d27c6d04939db987eecc3d8028d91b1100a8dd084d06833\
    3d06c8c06372563d326b27e2e2bda8e818a83aad72062cdbdb3810572fa8e91ccfa0771f38025485ee2c141c49a5b199\
    5156b138b3dea31e0bbe3f945f055baca03f7100c236c7ed8ac5b007f61510fc074c6a1a19b43a9c6eca3f0802da5338\
    1596a9564ae50a91abec7250bdb3ab9bc44bed8e724c2eac9cca3b607f76d3fe4b69dbc6665a2c20267d1c4c79b99106\
    7933e0720704131a9d22725c948e77f29a32f4068d0e478773f5e1f0dedc1ac827291bfec229c07c14b68d69173116c1\
    e7463db539df595afe573d9d1e373f107231dffb863ce286e6511f2d01e1f9f7a5acfb745531bbe92e24abeecd1ca951\
    021aca158e6bb08b8af7368c03d6af64ccd6422826c3cef42831e252b6f1fb08";

/// AES-CBC 256 with the diffuser.
const SECTOR_8001: &str = "\
    8568f934436237a034086e7acbb9b32f278c7fd1f9803d1d8d08000e8c9b63980f9b72261175c71ec4b8f5a9e9983033\
    4a96460250d4a3030e2866341ac65e3339307198fcb64ed438592804148b917c5cfc2d0bb00c99f89568d68f914321d5\
    4f8b70f6d7835f9b287f43b1ab99c5cadae38de1fb27f389a2ae22930aeb22690ca3e176af6b1adfdee1d82229768179\
    bec35729125287a2ab20be958c468a1d973e7b157d6562444dd4d7ae2ba21094597d98b8665af025e859dc7568a6cef4\
    f615e02516eac6d4e82479a51548220707ba6a9fe13edf4797b1986085884f52b50f55bbb41f351ba87e388bbb11406a\
    19e4c3fac1407d727c7aa95d41b40b1ebb996cecc7f329faad33af6c5f3e98e18078ab1242a2bc0e9ed90835e75730c9\
    3697d57bf1c68204238ff099050108f1f6ec3fec06ff8f239b5089409a3ca10e8aa37180b62049cd5ce586e57f7c02af\
    cf10f3ddd8328e9810a0c29df3d983b3dbef7cde8cfbc9f0f3f2aece11b332b8593bf94e66af9b3b44f01f056d4c462d\
    868123c2b88dcd3fba831f9b9240ab0f985d1cf42d97504d535fa44edd6c371b5e56daadfbc2ba27db9ca65045d1eae9\
    7bc4f131f51a67baab3344c4af9eeab3f784b6f0bf1456d9bb0c0863ce7d6f8305ba2cc908fbef535d6a716cc583e934\
    8d07ab73a517e015d52a2d9c496f8776b259995c3851e27c9776a2aa5b6520cb";

/// AES-CBC 128.
const SECTOR_8002: &str = "\
    30d6c53b40e537d33972ed6ac97292f1308fbc15f77599b5dfd5a58fa52df42d24a187bec736d8818fd4a0f0f6f68a2f\
    6070a1045fb32da7d13ee4d06fb8d2bd206c593497936224ea06960aadd0f8442926ed799d7bfef791037903239c11a5\
    1a090e72146eb551cf3c65d3aa3311f1016471339f3fb38c0e3b74ba489c44adefb454abfa777e8a4ab4cc11361d1977\
    17748fb3d53d5cccc3c873be4d90a65632d4503f87160ea0763652438c03d3523b574fc2a9579b4fdc137352a8351add\
    6f21d9ec4e9dcb16404845556d44ce10358f62112ff44d171ea2078824354690f36e7f3751e618b6f2125f85d89aff9e\
    554dd7c3f4a10a0fbc8a691b5a1067590de812794752021abf8bf022ef9316fd30df475074610a3e73cbd4537e785bff\
    16b19746550285df4201fb018a7ad2c1d3c0be0bd03c2e28b33c7cbe5a304ae100fe35d02f53e7cbf724c3d6654942c7\
    f87cd29ce94c7b7513d77ba1e6cd6587668ab9242b30a2d3fa194c59e737f8c0c47f0a58c120457574b31b2d5628e3a4\
    95c47d00f456af86e2909b10386d9755e08f8dd45a3b442166d10b938b6c4e06d934230f5957ae1a78dfd9f54425f079\
    fb0b19f10dc13ba8f8957e05d72ca45983fd58f7c68e2f338e64a53d967ddd68cb4eb36837f447005ace7064af086abd\
    e518cdc3c3651da1eb7d723b35c60a72f02cb15b6113206c7fef62a28d8b6302";

/// AES-CBC 256.
const SECTOR_8003: &str = "\
    7018bff0f32d94d4463a0c0ef56825538d2f98f4be7230f240b861678da36e0c30b1a2d71f7d3d3e6e3fc13cb3ec0e9f\
    ef09ac344e0c57c9d4aa72c1e7ccb266fb5b9bdacb5f5ddd3db573593e045ec1efb2702831098f30f2d88ab6c6bb03ac\
    af0ada116ea4fe8acb5df6f1c48daabac5d6ac89333e15205dd0e55ba0fb945189635b16549ee2b8777e7de971dea1a7\
    79d9ecbb973b1697af8619c9924874f986aaebbaa41dec271809f344ac45f0a4d8aef2d22619bbd52cc91e2e3ff66577\
    798a979aa6397ce22f2bbbaed4e57ff0dd202f6273183a454db9d16a87531320c1632fda49a1265929df4d6ece0c3853\
    30162cd211677f168e969e913cae39b970e16e3b2166b6c3f69f73e04451468d72781aa09002eca7734faa04f11377f9\
    552e057fc8dd6b750ab507737bee6235517075588bb67dd1e2ad792bcfd79b919edf36e6ecef33cd4e654252495d766c\
    47514694cacf1e298a66ac24bbbbd8517bf4874f587b7a6229d01099c9b6b50d29b1d8746a68b8c5c3bcf9f4b4591298\
    5feb89e8f28ccb8b2fab1e6038a3ea25b76fdb047b5e08216464871d9e9c51a24dc634466a8cbb8babd4e150ff3243df\
    5a12b17af5128078a9a03f8601029037cccc89c70e13c93ec29fa6435b23d75452623a709b3c207a84769d5dea5f3d5c\
    f130170ec80bbaf7717324a87af1e81a7a1d915b35fd3d019aa6b51357dded85";

/// AES-XTS 128.
const SECTOR_8004: &str = "\
    138bae29d1e47e38411a65675406cb9bc18f5eae362c3cdb6b58b9b39bad18d6cd4e3aad995f5681e0949914355e2007\
    01bf3d9ad8de9b8ed245be2b7c364b7c37c918181c25ea64fa88f8bb048a87122ea028c82fa05c18caa979d33b86808c\
    18d6791c25eec448960aa4f98a666176a1b1eb50d8a0b96be740b51117b8f27818f5bf5afa794f2908b942bf3eb97253\
    36db7c089a350186ef76c8e6035ca2b7257fb006776990b2304d0c98d6a923d170b621b343dc8be02d71cc4d18706e0e\
    358e745cb0700f4f8250b3f3ebbe5889ed89d804051933e60c80c8ce038b60905f3f6d23228b91162885dd8bcce2ff3e\
    6f498acf2f4f349be7c931f4e4a1d9f54e34a5754057df547377418f9e002c30e1e77ed623eddb11a1b7448569af9866\
    34a12e8e71ddddd7395f3d9de5c7e9019eafc864914750f909b5298e14029b519f4ee34c60be2f45d0b600e1e2f29e9c\
    05c4c0a7ef6be1e82922d699dfcc61e8285850b080e4b9a151abc996a2571a689e9bb2ea53995e4c3191c81f50f8463b\
    6f9e28f6cdd671c220472e0e5a5c4026baaed99c4bb170a2a9708d9974dba25ec102b881307dfa13c7a774243e66b499\
    386523b426a575961444b91f85d7ab60b860a56fbe2c799fc4e29af79c27d2010431caa414fbb3acd3bae79f076f0974\
    f548dd52f3273081b2a17695a0d4f365a4988ed5dc0bcc5503f63bc86ed613c5";

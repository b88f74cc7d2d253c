import java.io.IOException;
import java.io.InputStream;
import java.io.Writer;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.Security;
import java.security.cert.Certificate;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.security.spec.ECGenParameterSpec;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Set;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.Extensions;
import org.bouncycastle.asn1.x509.GeneralName;
import org.bouncycastle.asn1.x509.GeneralNames;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509CertificateConverter;
import org.bouncycastle.est.CSRRequestResponse;
import org.bouncycastle.est.ESTAuth;
import org.bouncycastle.est.ESTException;
import org.bouncycastle.est.ESTService;
import org.bouncycastle.est.EnrollmentResponse;
import org.bouncycastle.est.jcajce.ChannelBindingProvider;
import org.bouncycastle.est.jcajce.JcaHttpAuthBuilder;
import org.bouncycastle.est.jcajce.JcaJceUtils;
import org.bouncycastle.est.jcajce.JsseESTServiceBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.jsse.BCSSLSocket;
import org.bouncycastle.jsse.provider.BouncyCastleJsseProvider;
import org.bouncycastle.openssl.PEMParser;
import org.bouncycastle.openssl.jcajce.JcaPEMWriter;
import org.bouncycastle.openssl.jcajce.JcaPKCS8Generator;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.pkcs.PKCS10CertificationRequestBuilder;
import org.bouncycastle.pkcs.jcajce.JcaPKCS10CertificationRequestBuilder;

/** cacerts, csrattrs, simpleenroll and simplereenroll through {@code org.bouncycastle.est}. */
public final class Enroll {
    private static final char[] NO_PASSWORD = new char[0];

    /** Where to enroll, and who answers there; ESTService wants host and label apart. */
    private record Server(String authority, String label, X509Certificate root) {
        static Server of(String estUrl, X509Certificate root) {
            URI url = URI.create(estUrl);
            String path = url.getPath().replaceFirst("^/\\.well-known/est/?", "");
            return new Server(url.getAuthority(), path.isEmpty() ? null : path, root);
        }
    }

    /** A certificate and its key. */
    private record Identity(X509Certificate certificate, KeyPair key) {}

    /** One of the ways to open the connection. */
    private enum Tls {
        /** The JDK's own JSSE. */
        JDK,
        /** BCJSSE with whatever version the two agree on. */
        BC,
        /** BCJSSE limited to TLS 1.2, where tls-unique means something (RFC 5929 3, RFC 9266 1). */
        BC_1_2,
        /** The same, with a tls-unique that has one bit changed. */
        BC_1_2_ALTERED
    }

    private final Server server;
    private final Path work;
    private final boolean rsa;

    private Enroll(Server server, Path work, boolean rsa) {
        this.server = server;
        this.work = work;
        this.rsa = rsa;
    }

    public static void main(String[] args) throws Exception {
        if (args.length != 6 || !Set.of("ec", "rsa").contains(args[4])) {
            System.err.println("usage: run EST_URL ROOT_PEM USER PASSWORD ec|rsa WORKDIR");
            System.exit(2);
        }
        Security.addProvider(new BouncyCastleProvider());
        Security.addProvider(new BouncyCastleJsseProvider());
        try {
            Server server = Server.of(args[0], readCertificate(Path.of(args[1])));
            new Enroll(server, Path.of(args[5]), args[4].equals("rsa")).run(args[2], args[3]);
        } catch (ESTException failure) {
            System.err.println("FAILED: " + failure.getMessage() + ": " + bodyOf(failure));
            System.exit(1);
        }
    }

    private void run(String user, String password) throws Exception {
        String keyType = rsa ? "rsa" : "ec";
        String dns = System.getenv("EST_DNS");
        X500Name requested =
                new X500Name(
                        "CN=" + System.getenv().getOrDefault("EST_CN", "bouncycastle-" + keyType));
        GeneralNames alternatives =
                dns == null || dns.isEmpty()
                        ? null
                        : new GeneralNames(new GeneralName(GeneralName.dNSName, dns));
        ESTAuth basic = new JcaHttpAuthBuilder(user, password.toCharArray()).build();

        step("cacerts over the JDK's JSSE");
        List<X509Certificate> authorities =
                certificates(
                        service(Tls.JDK, null).getCACerts().getCertificateStore().getMatches(null));
        for (X509Certificate authority : authorities) {
            System.out.println(authority.getSubjectX500Principal());
        }
        write("cacerts.pem", authorities.toArray());

        step("csrattrs");
        CSRRequestResponse attributes = service(Tls.BC, null).getCSRAttributes();
        System.out.println(
                attributes.hasAttributesResponse()
                        ? attributes.getAttributesResponse().getRequirements()
                        : "204: nothing in particular");

        step("simpleenroll with HTTP Basic and proof of possession, TLS 1.2, a new key");
        enroll(Tls.BC_1_2, null, requested, alternatives, newKey(), basic, true);

        step("simpleenroll with HTTP Basic and an altered proof of possession, TLS 1.2");
        try {
            enroll(Tls.BC_1_2_ALTERED, null, requested, alternatives, newKey(), basic, true);
            throw new ESTException("a request that is bound to no connection was taken");
        } catch (ESTException refusal) {
            if (refusal.getStatusCode() != 403 && refusal.getStatusCode() != 401) {
                throw refusal;
            }
            System.out.println("refused: " + refusal.getStatusCode() + " " + bodyOf(refusal));
        }

        step("simpleenroll with HTTP Basic, a new key");
        Identity first = enroll(Tls.BC, null, requested, alternatives, newKey(), basic, false);
        write("cert1.pem", first.certificate());
        write("key1.pem", first.key().getPrivate());

        // RFC 7030 4.2.2: a renewal asks for the names of the certificate that it renews
        X509CertificateHolder current = new X509CertificateHolder(first.certificate().getEncoded());
        GeneralNames own =
                GeneralNames.fromExtensions(
                        current.getExtensions(), Extension.subjectAlternativeName);

        step("simplereenroll as " + current.getSubject() + ", the same key");
        Identity renewed =
                enroll(Tls.BC, first, current.getSubject(), own, first.key(), null, false);

        step("simplereenroll as " + current.getSubject() + " and proof of possession, a new key");
        Identity second =
                enroll(Tls.BC_1_2, renewed, current.getSubject(), own, newKey(), null, true);
        write("cert2.pem", second.certificate());
        write("key2.pem", second.key().getPrivate());

        step("done");
    }

    private ESTService service(Tls tls, Identity client) throws Exception {
        Provider provider = tls == Tls.JDK ? null : Security.getProvider("BCJSSE");
        JsseESTServiceBuilder builder =
                new JsseESTServiceBuilder(
                        server.authority(),
                        JcaJceUtils.getCertPathTrustManager(
                                Set.of(new TrustAnchor(server.root(), null)), null));
        builder.withTimeout(30_000)
                .withTLSVersion(
                        tls == Tls.BC_1_2 || tls == Tls.BC_1_2_ALTERED ? "TLSv1.2" : "TLS")
                .withChannelBindingProvider(new ChannelBinding(tls == Tls.BC_1_2_ALTERED));
        if (provider != null) {
            builder.withProvider(provider);
        }
        if (server.label() != null) {
            builder.withLabel(server.label());
        }
        if (client != null) {
            builder.withKeyManagers(keyManagers(client));
        }
        return builder.build();
    }

    private Identity enroll(
            Tls tls,
            Identity client,
            X500Name subject,
            GeneralNames alternatives,
            KeyPair key,
            ESTAuth basic,
            boolean proof)
            throws Exception {
        PKCS10CertificationRequestBuilder request =
                new JcaPKCS10CertificationRequestBuilder(subject, key.getPublic());
        if (alternatives != null) {
            request.addAttribute(
                    PKCSObjectIdentifiers.pkcs_9_at_extensionRequest,
                    new Extensions(
                            new Extension(
                                    Extension.subjectAlternativeName,
                                    false,
                                    alternatives.getEncoded())));
        }
        ContentSigner signer =
                new JcaContentSignerBuilder(rsa ? "SHA256withRSA" : "SHA256withECDSA")
                        .build(key.getPrivate());
        ESTService service = service(tls, client);
        boolean again = client != null;
        EnrollmentResponse answer =
                proof
                        ? service.simpleEnrollPoP(again, request, signer, basic)
                        : service.simpleEnroll(again, request.build(signer), basic);
        while (!answer.isCompleted()) {
            String pause = System.getenv("EST_POLL_SECONDS");
            if (pause == null) {
                throw new ESTException("202: try again at " + answer.getNotBefore());
            }
            System.out.println("202: try again at " + answer.getNotBefore() + ", or earlier");
            Thread.sleep(Duration.ofSeconds(Long.parseLong(pause)).toMillis());
            // a request that is bound to its connection is made anew (RFC 7030 4.2.3)
            answer =
                    proof
                            ? service.simpleEnrollPoP(again, request, signer, basic)
                            : service.simpleEnroll(answer);
        }
        List<X509Certificate> issued = certificates(answer.getStore().getMatches(null));
        if (issued.size() != 1) {
            throw new ESTException("not exactly one certificate, but " + issued.size());
        }
        X509Certificate certificate = issued.get(0);
        if (!certificate.getPublicKey().equals(key.getPublic())) {
            throw new ESTException("the certificate is for another key");
        }
        System.out.printf(
                "%s, serial %x, until %s%n",
                certificate.getSubjectX500Principal(),
                certificate.getSerialNumber(),
                certificate.getNotAfter().toInstant());
        return new Identity(certificate, key);
    }

    private KeyPair newKey() throws GeneralSecurityException {
        KeyPairGenerator generator = KeyPairGenerator.getInstance(rsa ? "RSA" : "EC");
        if (rsa) {
            generator.initialize(2048);
        } else {
            generator.initialize(new ECGenParameterSpec("secp256r1"));
        }
        return generator.generateKeyPair();
    }

    private static KeyManager[] keyManagers(Identity client) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, NO_PASSWORD);
        store.setKeyEntry(
                "current",
                client.key().getPrivate(),
                NO_PASSWORD,
                new Certificate[] {client.certificate()});
        KeyManagerFactory factory = KeyManagerFactory.getInstance("PKIX", "BCJSSE");
        factory.init(store, NO_PASSWORD);
        return factory.getKeyManagers();
    }

    private static List<X509Certificate> certificates(Collection<X509CertificateHolder> holders)
            throws GeneralSecurityException {
        List<X509Certificate> certificates = new ArrayList<>();
        for (X509CertificateHolder holder : holders) {
            certificates.add(new JcaX509CertificateConverter().getCertificate(holder));
        }
        return certificates;
    }

    private static X509Certificate readCertificate(Path file) throws Exception {
        try (PEMParser parser = new PEMParser(Files.newBufferedReader(file))) {
            return new JcaX509CertificateConverter()
                    .getCertificate((X509CertificateHolder) parser.readObject());
        }
    }

    private void write(String name, Object... things) throws IOException {
        try (Writer file = Files.newBufferedWriter(work.resolve(name));
                JcaPEMWriter pem = new JcaPEMWriter(file)) {
            for (Object thing : things) {
                pem.writeObject(
                        thing instanceof PrivateKey key
                                ? new JcaPKCS8Generator(key, null)
                                : thing);
            }
        }
    }

    private static String bodyOf(ESTException failure) throws IOException {
        InputStream body = failure.getBody();
        return body == null ? "" : new String(body.readAllBytes(), StandardCharsets.UTF_8).strip();
    }

    private static void step(String text) {
        System.out.println("\n== " + text);
    }

    /** RFC 7030 3.5: ties the request to the connection; the value is TLS 1.2's tls-unique. */
    private static final class ChannelBinding implements ChannelBindingProvider {
        private final boolean altered;

        ChannelBinding(boolean altered) {
            this.altered = altered;
        }

        @Override
        public boolean canAccessChannelBinding(Socket socket) {
            return socket instanceof BCSSLSocket;
        }

        @Override
        public byte[] getChannelBinding(Socket socket, String binding) {
            byte[] value = ((BCSSLSocket) socket).getConnection().getChannelBinding(binding).clone();
            value[0] ^= (byte) (altered ? 1 : 0);
            return value;
        }
    }
}

import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Date;
import java.util.List;
import org.bouncycastle.asn1.DERNull;
import org.bouncycastle.asn1.DEROctetString;
import org.bouncycastle.asn1.ocsp.OCSPObjectIdentifiers;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.asn1.x509.ExtendedKeyUsage;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.Extensions;
import org.bouncycastle.asn1.x509.KeyPurposeId;
import org.bouncycastle.asn1.nist.NISTObjectIdentifiers;
import org.bouncycastle.asn1.oiw.OIWObjectIdentifiers;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.ocsp.BasicOCSPResp;
import org.bouncycastle.cert.ocsp.CertificateID;
import org.bouncycastle.cert.ocsp.CertificateStatus;
import org.bouncycastle.cert.ocsp.OCSPReq;
import org.bouncycastle.cert.ocsp.OCSPReqBuilder;
import org.bouncycastle.cert.ocsp.OCSPResp;
import org.bouncycastle.cert.ocsp.RespID;
import org.bouncycastle.cert.ocsp.RevokedStatus;
import org.bouncycastle.cert.ocsp.SingleResp;
import org.bouncycastle.openssl.PEMParser;
import org.bouncycastle.operator.ContentVerifierProvider;
import org.bouncycastle.operator.DigestCalculatorProvider;
import org.bouncycastle.operator.jcajce.JcaContentVerifierProviderBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;

/** Asks about certificates through {@code org.bouncycastle.cert.ocsp}, by POST and by GET. */
public final class Ocsp {
    private Ocsp() {}

    private static X509CertificateHolder certificate(String file) throws Exception {
        try (PEMParser parser = new PEMParser(Files.newBufferedReader(Path.of(file)))) {
            return (X509CertificateHolder) parser.readObject();
        }
    }

    private static byte[] send(String url, byte[] request, boolean get) throws Exception {
        String path = get ? "/" + Base64.getEncoder().encodeToString(request) : "";
        HttpURLConnection connection = (HttpURLConnection) URI.create(url + path).toURL().openConnection();
        if (!get) {
            connection.setDoOutput(true);
            connection.setRequestProperty("Content-Type", "application/ocsp-request");
            connection.getOutputStream().write(request);
        }
        check(connection.getResponseCode() == 200, "HTTP " + connection.getResponseCode());
        check(
                "application/ocsp-response".equals(connection.getContentType()),
                "media type " + connection.getContentType());
        try (InputStream body = connection.getInputStream()) {
            return body.readAllBytes();
        }
    }

    private static void check(boolean holds, String message) {
        if (!holds) {
            throw new IllegalStateException(message);
        }
    }

    /** The response's signer is the issuer's authorized responder, and signed. */
    private static void verify(BasicOCSPResp response, X509CertificateHolder issuer, DigestCalculatorProvider digests)
            throws Exception {
        X509CertificateHolder[] certificates = response.getCerts();
        check(certificates.length == 1, "certificates: " + certificates.length);
        X509CertificateHolder responder = certificates[0];
        JcaContentVerifierProviderBuilder verifiers = new JcaContentVerifierProviderBuilder();
        check(responder.isSignatureValid(verifiers.build(issuer)), "the issuer did not sign the responder");
        check(responder.isValidOn(new Date()), "the responder is not valid now");
        ExtendedKeyUsage usage = ExtendedKeyUsage.fromExtensions(responder.getExtensions());
        check(usage.hasKeyPurposeId(KeyPurposeId.id_kp_OCSPSigning), "no authorized responder");
        Extension nocheck = responder.getExtension(OCSPObjectIdentifiers.id_pkix_ocsp_nocheck);
        check(nocheck != null && nocheck.getParsedValue().equals(DERNull.INSTANCE), "no id-pkix-ocsp-nocheck");
        RespID wanted =
                new RespID(responder.getSubjectPublicKeyInfo(), digests.get(RespID.HASH_SHA1));
        check(response.getResponderId().equals(wanted), "responderID is not byKey");
        ContentVerifierProvider verifier = verifiers.build(responder);
        check(response.isSignatureValid(verifier), "the response's signature is wrong");
    }

    private static String status(CertificateStatus status) {
        if (status == CertificateStatus.GOOD) {
            return "good";
        }
        if (status instanceof RevokedStatus revoked) {
            return "revoked " + (revoked.hasRevocationReason() ? revoked.getRevocationReason() : "-");
        }
        return "unknown";
    }

    public static void main(String[] arguments) throws Exception {
        String url = arguments[0];
        X509CertificateHolder issuer = certificate(arguments[1]);
        DigestCalculatorProvider digests = new JcaDigestCalculatorProviderBuilder().build();
        AlgorithmIdentifier[] hashes = {
            new AlgorithmIdentifier(OIWObjectIdentifiers.idSHA1, DERNull.INSTANCE),
            new AlgorithmIdentifier(OIWObjectIdentifiers.idSHA1),
            new AlgorithmIdentifier(NISTObjectIdentifiers.id_sha256),
        };
        for (AlgorithmIdentifier hash : hashes) {
            OCSPReqBuilder builder = new OCSPReqBuilder();
            List<CertificateID> ids = new ArrayList<>();
            for (int at = 2; at < arguments.length; at++) {
                ids.add(new CertificateID(digests.get(hash), issuer, certificate(arguments[at]).getSerialNumber()));
                builder.addRequest(ids.get(ids.size() - 1));
            }
            byte[] nonce = new byte[32];
            new SecureRandom().nextBytes(nonce);
            Extension extension =
                    new Extension(
                            OCSPObjectIdentifiers.id_pkix_ocsp_nonce,
                            false,
                            new DEROctetString(nonce).getEncoded());
            builder.setRequestExtensions(new Extensions(extension));
            OCSPReq request = builder.build();
            for (boolean get : new boolean[] {false, true}) {
                OCSPResp answer = new OCSPResp(send(url, request.getEncoded(), get));
                check(answer.getStatus() == OCSPResp.SUCCESSFUL, "status " + answer.getStatus());
                BasicOCSPResp response = (BasicOCSPResp) answer.getResponseObject();
                verify(response, issuer, digests);
                check(
                        extension.equals(response.getExtension(OCSPObjectIdentifiers.id_pkix_ocsp_nonce)),
                        "another nonce");
                SingleResp[] found = response.getResponses();
                for (int at = 0; at < found.length; at++) {
                    check(found[at].getCertID().equals(ids.get(at)), "another CertID");
                    check(found[at].getNextUpdate().after(new Date()), "out of date");
                    System.out.println(status(found[at].getCertStatus()));
                }
            }
        }
    }
}

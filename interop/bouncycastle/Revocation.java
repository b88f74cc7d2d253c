import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.Provider;
import java.security.cert.CRL;
import java.security.cert.CertPathValidator;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertStore;
import java.security.cert.CertificateFactory;
import java.security.cert.CollectionCertStoreParameters;
import java.security.cert.PKIXParameters;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.bouncycastle.jcajce.PKIXExtendedParameters;
import org.bouncycastle.jce.provider.BouncyCastleProvider;

/** Prints {@code good}, or {@code refused: } and why, for a certificate and the CRLs at hand. */
public final class Revocation {
    private Revocation() {}

    public static void main(String[] arguments) throws Exception {
        Provider provider = new BouncyCastleProvider();
        CertificateFactory factory = CertificateFactory.getInstance("X.509", provider);
        X509Certificate anchor = certificate(factory, arguments[0]);
        X509Certificate leaf = certificate(factory, arguments[1]);
        List<CRL> lists = new ArrayList<>();
        for (int at = 2; at < arguments.length; at++) {
            try (InputStream file = Files.newInputStream(Path.of(arguments[at]))) {
                lists.add(factory.generateCRL(file));
            }
        }
        PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(anchor, null)));
        parameters.addCertStore(
                CertStore.getInstance("Collection", new CollectionCertStoreParameters(lists), provider));
        PKIXExtendedParameters extended =
                new PKIXExtendedParameters.Builder(parameters).setUseDeltasEnabled(true).build();
        try {
            CertPathValidator.getInstance("PKIX", provider)
                    .validate(factory.generateCertPath(List.of(leaf)), extended);
            System.out.println("good");
        } catch (CertPathValidatorException refused) {
            System.out.println("refused: " + reasons(refused));
        }
    }

    private static String reasons(Throwable failure) {
        StringBuilder found = new StringBuilder();
        for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
            found.append(cause.getMessage()).append("; ");
        }
        return found.toString();
    }

    private static X509Certificate certificate(CertificateFactory factory, String file)
            throws java.io.IOException, GeneralSecurityException {
        try (InputStream in = Files.newInputStream(Path.of(file))) {
            return (X509Certificate) factory.generateCertificate(in);
        }
    }
}

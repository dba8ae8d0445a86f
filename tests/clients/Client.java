import java.io.FileInputStream;
import java.io.InputStream;
import java.net.Authenticator;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.PasswordAuthentication;
import java.net.Proxy;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** One GET through the proxy: java Client WAY URL [CA_FILE PROXY_PORT [USER PASSWORD]]; else by system properties. */
public class Client {
    public static void main(String[] arguments) throws Exception {
        URI uri = URI.create(arguments[1]);
        boolean isTold = arguments.length > 2;
        SSLContext context = isTold ? trusting(arguments[2]) : SSLContext.getDefault();
        InetSocketAddress proxy = isTold ? new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[3])) : null;
        Authenticator authenticator = arguments.length < 5 ? null : new Authenticator() {
            @Override
            protected PasswordAuthentication getPasswordAuthentication() {
                return new PasswordAuthentication(arguments[4], arguments[5].toCharArray());
            }
        };
        String body = arguments[0].equals("HttpClient")
            ? byHttpClient(uri, context, proxy, authenticator)
            : byUrlConnection(uri, context, proxy, authenticator);
        System.out.print(body);
    }

    static String byHttpClient(URI uri, SSLContext context, InetSocketAddress proxy, Authenticator authenticator)
            throws Exception {
        HttpClient.Builder builder = HttpClient.newBuilder().sslContext(context);
        if (proxy != null) {
            builder.proxy(ProxySelector.of(proxy));
        }
        if (authenticator != null) {
            builder.authenticator(authenticator);
        }
        HttpResponse<String> response =
            builder.build().send(HttpRequest.newBuilder(uri).build(), HttpResponse.BodyHandlers.ofString());
        if (response.statusCode() != 200) {
            throw new java.io.IOException("status " + response.statusCode());
        }
        return response.body();
    }

    static String byUrlConnection(URI uri, SSLContext context, InetSocketAddress proxy, Authenticator authenticator)
            throws Exception {
        if (authenticator != null) {
            Authenticator.setDefault(authenticator);
        }
        HttpURLConnection connection = (HttpURLConnection) (proxy == null
            ? uri.toURL().openConnection()
            : uri.toURL().openConnection(new Proxy(Proxy.Type.HTTP, proxy)));
        if (connection instanceof HttpsURLConnection) {
            ((HttpsURLConnection) connection).setSSLSocketFactory(context.getSocketFactory());
        }
        try (InputStream body = connection.getInputStream()) {
            return new String(body.readAllBytes());
        }
    }

    static SSLContext trusting(String caFile) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream file = new FileInputStream(caFile)) {
            for (var certificate : CertificateFactory.getInstance("X.509").generateCertificates(file)) {
                store.setCertificateEntry("test " + store.size(), certificate);
            }
        }
        TrustManagerFactory managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        return context;
    }
}

// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

import java.io.FileInputStream;
import java.net.URI;
import java.security.KeyStore;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Asks a URL by mutual TLS, once for each triple of store type, keystore and truststore. */
class Client {
    public static void main(String[] args) throws Exception {
        char[] password = args[1].toCharArray();
        for (int i = 2; i < args.length; i += 3) {
            KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            keys.init(load(args[i], args[i + 1], password), password);
            TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            trust.init(load(args[i], args[i + 2], password));
            SSLContext tls = SSLContext.getInstance("TLS");
            tls.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
            HttpsURLConnection connection = (HttpsURLConnection) URI.create(args[0]).toURL().openConnection();
            connection.setSSLSocketFactory(tls.getSocketFactory());
            connection.setRequestProperty("Connection", "close");
            System.out.print(args[i] + ": " + new String(connection.getInputStream().readAllBytes()));
        }
    }

    static KeyStore load(String type, String path, char[] password) throws Exception {
        KeyStore store = KeyStore.getInstance(type);
        try (FileInputStream in = new FileInputStream(path)) {
            store.load(in, password);
        }
        return store;
    }
}

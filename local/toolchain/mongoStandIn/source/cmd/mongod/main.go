// Command mongod starts FerretDB from a mongod.conf, as far as mongoMachine writes one.
// What mongod would refuse (an unknown option, an open key file) is refused here too.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/FerretDB/FerretDB/internal/backends/sqlite"
	"github.com/FerretDB/FerretDB/internal/clientconn"
	"github.com/FerretDB/FerretDB/internal/clientconn/connmetrics"
	"github.com/FerretDB/FerretDB/internal/handler"
	"github.com/FerretDB/FerretDB/internal/util/ctxutil"
	"github.com/FerretDB/FerretDB/internal/util/logging"
	"github.com/FerretDB/FerretDB/internal/util/state"
)

const about = "FerretDB v1.24.2 with SQLite. It stands in for MongoDB's mongod, whose package could not be had here."

const base64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="

type config struct {
	Storage struct {
		DBPath string `yaml:"dbPath"`
	}
	Net struct {
		BindIP string `yaml:"bindIp"`
		Port   int
	}
	Replication struct {
		ReplSetName string `yaml:"replSetName"`
		OplogSizeMB int64  `yaml:"oplogSizeMB"`
	}
	Security struct {
		KeyFile       string `yaml:"keyFile"`
		Authorization string
	}
}

func main() {
	log.SetFlags(0)
	file := flag.String("config", "", "path of mongod.conf")
	flag.StringVar(file, "f", "", "short for --config")
	version := flag.Bool("version", false, "say what this is")
	flag.Parse()

	if *version {
		fmt.Println(about)
		return
	}

	c, err := read(*file)
	if err == nil {
		err = run(c)
	}

	if err != nil {
		log.Fatalf("mongod (FerretDB stand-in): %s", err)
	}
}

func read(file string) (*config, error) {
	c := new(config)
	c.Storage.DBPath = "/data/db"
	c.Net.BindIP = "localhost"
	c.Net.Port = 27017
	c.Replication.OplogSizeMB = 990

	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}

	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)

	if err = d.Decode(c); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}

	if a := c.Security.Authorization; a != "" && a != "enabled" && a != "disabled" {
		return nil, fmt.Errorf("security.authorization is %q; it must be enabled or disabled", a)
	}

	return c, nil
}

// clusterKey reads the key file under mongod's own conditions.
func clusterKey(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}

	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("permissions on %s are too open", file)
	}

	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}

	key := strings.Join(strings.Fields(string(b)), "")
	if len(key) < 6 || len(key) > 1024 || strings.Trim(key, base64) != "" {
		return "", fmt.Errorf("security key in %s must be 6 to 1024 base64 characters", file)
	}

	return key, nil
}

func run(c *config) error {
	var key string
	var err error

	if c.Security.KeyFile != "" {
		if key, err = clusterKey(c.Security.KeyFile); err != nil {
			return err
		}
	}

	logging.Setup(&logging.NewHandlerOpts{Base: "console", Level: slog.LevelError}, "")
	logger := slog.Default()

	ctx, stop := ctxutil.SigTerm(context.Background())
	defer stop()

	provider, err := state.NewProvider(c.Storage.DBPath + "/state.json")
	if err != nil {
		return err
	}

	if err = provider.Update(func(s *state.State) { s.DisableTelemetry(); s.TelemetryLocked = true }); err != nil {
		return err
	}

	// A commit survives the end of the process or the machine; that of the computer is not its business.
	uri := url.URL{Scheme: "file", Opaque: c.Storage.DBPath + "/", RawQuery: "_pragma=synchronous(normal)"}

	backend, err := sqlite.NewBackend(&sqlite.NewBackendParams{
		URI: uri.String(), L: logger, P: provider, BatchSize: 100,
	})
	if err != nil {
		return err
	}
	defer backend.Close()

	metrics := connmetrics.NewListenerMetrics()
	address := net.JoinHostPort(c.Net.BindIP, strconv.Itoa(c.Net.Port))

	h, err := handler.New(&handler.NewOpts{
		Backend:               backend,
		TCPHost:               address,
		ReplSetName:           c.Replication.ReplSetName,
		OplogSize:             c.Replication.OplogSizeMB << 20,
		ClusterKey:            key,
		EnableNewAuth:         true,
		AccessControl:         key != "" || c.Security.Authorization == "enabled",
		L:                     logger,
		ConnMetrics:           metrics.ConnMetrics,
		StateProvider:         provider,
		CappedCleanupInterval: time.Minute,
		BatchSize:             100,
	})
	if err != nil {
		return err
	}

	listener, err := clientconn.Listen(&clientconn.NewListenerOpts{
		TCP: address, Mode: clientconn.NormalMode, Metrics: metrics, Handler: h, Logger: logger,
	})
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op
		}

		return err
	}

	log.Printf("%s Listening on %s, data in %s.", about, address, c.Storage.DBPath)
	listener.Run(ctx)

	return nil
}

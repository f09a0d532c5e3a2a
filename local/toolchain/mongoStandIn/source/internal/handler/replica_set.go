package handler

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/FerretDB/wire"

	"github.com/FerretDB/FerretDB/internal/backends"
	"github.com/FerretDB/FerretDB/internal/clientconn/conninfo"
	"github.com/FerretDB/FerretDB/internal/handler/common"
	"github.com/FerretDB/FerretDB/internal/handler/handlererrors"
	"github.com/FerretDB/FerretDB/internal/types"
	"github.com/FerretDB/FerretDB/internal/util/iterator"
	"github.com/FerretDB/FerretDB/internal/util/must"
)

// Codes of mongod that FerretDB lacks: src/mongo/base/error_codes.yml.
const (
	errAlreadyInitialized      = handlererrors.ErrorCode(23)
	errNodeNotFound            = handlererrors.ErrorCode(74)
	errNoReplicationEnabled    = handlererrors.ErrorCode(76)
	errInvalidReplicaSetConfig = handlererrors.ErrorCode(93)
	errNotYetInitialized       = handlererrors.ErrorCode(94)
	errNotWritablePrimary      = handlererrors.ErrorCode(10107)
)

// writes are the commands that take turns: FerretDB reads a document, changes it and writes it back, and
// two of them at once would lose a change.
var writes = []string{
	"create", "createIndexes", "createUser", "delete", "drop", "dropAllUsersFromDatabase", "dropDatabase",
	"dropIndexes", "dropUser", "findAndModify", "findandmodify", "insert", "renameCollection", "update", "updateUser",
}

// initReplicaSetCommands adds what FerretDB lacks of a replica set of one member, and what guards commands.
func (h *Handler) initReplicaSetCommands() {
	h.commands["replSetInitiate"] = &command{Handler: h.msgReplSetInitiate, Help: "Initiates the replica set."}
	h.commands["replSetGetStatus"] = &command{Handler: h.msgReplSetGetStatus, Help: "Returns the set's state."}
	h.commands["replSetReconfig"] = &command{Handler: h.msgReplSetReconfig, Help: "Refuses further members."}
	h.commands["replSetGetConfig"] = &command{Handler: h.msgReplSetGetConfig, Help: "Returns the set's members."}

	h.commands["serverStatus"] = &command{Handler: h.msgServerStatusWithConnections, Help: "Returns the server's state."}

	// Clients say it when they leave; FerretDB keeps no sessions.
	h.commands["endSessions"] = &command{Handler: h.MsgPing, anonymous: true}

	for name, cmd := range h.commands {
		handle := cmd.Handler
		anonymous := cmd.anonymous

		cmd.Handler = func(ctx context.Context, msg *wire.OpMsg) (*wire.OpMsg, error) {
			if h.AccessControl && !anonymous {
				if err := checkSCRAMConversation(ctx, name, h.L); err != nil && !h.localhostException(ctx, name) {
					return nil, err
				}
			}

			if slices.Contains(writes, name) {
				if h.ReplSetName != "" && h.replicaSetConfig(ctx) == nil {
					return nil, handlererrors.NewCommandErrorMsg(errNotWritablePrimary, "not primary")
				}

				h.turn.Lock()
				defer h.turn.Unlock()
			}

			return handle(ctx, msg)
		}
	}
}

// localhostException lets a machine set itself up, until it has a user:
// https://www.mongodb.com/docs/manual/core/localhost-exception/
func (h *Handler) localhostException(ctx context.Context, name string) bool {
	if !slices.Contains([]string{"createUser", "replSetInitiate", "replSetGetStatus"}, name) {
		return false
	}

	return conninfo.Get(ctx).Peer.Addr().Unmap().IsLoopback() && h.first(ctx, "admin", "system.users") == nil
}

// first returns a collection's first document, or nil.
func (h *Handler) first(ctx context.Context, database, name string) *types.Document {
	collection := must.NotFail(must.NotFail(h.b.Database(database)).Collection(name))

	res, err := collection.Query(ctx, &backends.QueryParams{Limit: 1})
	if err != nil {
		return nil
	}

	defer res.Iter.Close()

	_, doc, err := res.Iter.Next()
	if err != nil && !errors.Is(err, iterator.ErrIteratorDone) {
		h.L.ErrorContext(ctx, err.Error())
	}

	return doc
}

// replicaSetConfig is nil until replSetInitiate.
func (h *Handler) replicaSetConfig(ctx context.Context) *types.Document {
	config := h.replicaSet.Load()
	if config == nil {
		config = h.first(ctx, "local", "system.replset")
		h.replicaSet.Store(config)
	}

	return config
}

// memberHost returns the one member's address in a set's configuration.
func memberHost(config *types.Document) (string, error) {
	members, err := common.GetRequiredParam[*types.Array](config, "members")
	if err != nil || members.Len() != 1 {
		return "", handlererrors.NewCommandErrorMsg(
			errInvalidReplicaSetConfig, "the stand-in for mongod takes a set of exactly one member",
		)
	}

	member, _ := must.NotFail(members.Get(0)).(*types.Document)
	if member == nil {
		member = must.NotFail(types.NewDocument())
	}

	return common.GetRequiredParam[string](member, "host")
}

// setReplicaSet adds to hello's answer what mongod says of a set.
func (h *Handler) setReplicaSet(ctx context.Context, res *types.Document, command string) {
	if h.ReplSetName == "" {
		return
	}

	config := h.replicaSetConfig(ctx)
	if config == nil {
		writable := "ismaster"
		if command == "hello" {
			writable = "isWritablePrimary"
		}

		res.Set(writable, false)
		res.Set("secondary", false)
		res.Set("isreplicaset", true)
		res.Set("info", "Does not have a valid replica set config")

		return
	}

	host := must.NotFail(memberHost(config))
	res.Set("secondary", false)
	res.Set("setName", h.ReplSetName)
	res.Set("setVersion", int32(1))
	res.Set("hosts", must.NotFail(types.NewArray(host)))
	res.Set("primary", host)
	res.Set("me", host)
}

func (h *Handler) msgReplSetInitiate(ctx context.Context, msg *wire.OpMsg) (*wire.OpMsg, error) {
	document := must.NotFail(opMsgDocument(msg))

	config, err := common.GetRequiredParam[*types.Document](document, document.Command())
	if err != nil {
		return nil, err
	}

	if h.ReplSetName == "" {
		return nil, handlererrors.NewCommandErrorMsg(
			errNoReplicationEnabled, "This node was not started with replication enabled.",
		)
	}

	h.turn.Lock()
	defer h.turn.Unlock()

	if h.replicaSetConfig(ctx) != nil {
		return nil, handlererrors.NewCommandErrorMsg(errAlreadyInitialized, "already initialized")
	}

	if name, _ := config.Get("_id"); name != h.ReplSetName {
		return nil, handlererrors.NewCommandErrorMsg(errInvalidReplicaSetConfig, fmt.Sprintf(
			"Attempting to initiate a replica set with name %v, but command line reports %s; rejecting", name, h.ReplSetName,
		))
	}

	host, err := memberHost(config)
	if err != nil {
		return nil, err
	}

	if !isSelf(host) {
		return nil, handlererrors.NewCommandErrorMsg(errNodeNotFound, fmt.Sprintf(
			"No host described in new configuration for replica set %s maps to this node: %s", h.ReplSetName, host,
		))
	}

	local := must.NotFail(h.b.Database("local"))
	if err = local.CreateCollection(ctx, &backends.CreateCollectionParams{
		Name: "oplog.rs", CappedSize: h.OplogSize,
	}); err != nil && !backends.ErrorCodeIs(err, backends.ErrorCodeCollectionAlreadyExists) {
		return nil, err
	}

	config.Set("version", int32(1))

	if _, err = must.NotFail(local.Collection("system.replset")).InsertAll(ctx, &backends.InsertAllParams{
		Docs: []*types.Document{config},
	}); err != nil {
		return nil, err
	}

	// An oplog is never empty: who tails it begins behind its last entry.
	now := time.Now()
	entry := must.NotFail(types.NewDocument(
		"_id", types.NewObjectID(), "op", "n", "ns", "", "ts", types.NextTimestamp(now),
		"o", must.NotFail(types.NewDocument("msg", "initiating set")), "t", int64(1), "v", int64(2), "wall", now,
	))

	if _, err = must.NotFail(local.Collection("oplog.rs")).InsertAll(ctx, &backends.InsertAllParams{
		Docs: []*types.Document{entry},
	}); err != nil {
		return nil, err
	}

	return documentOpMsg(must.NotFail(types.NewDocument("ok", float64(1))))
}

// isSelf returns whether the host's name leads to this machine, which mongod asks for too.
func isSelf(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}

	found, _ := net.LookupIP(name)
	own, _ := net.InterfaceAddrs()

	return slices.ContainsFunc(found, func(ip net.IP) bool {
		return ip.IsLoopback() || slices.ContainsFunc(own, func(a net.Addr) bool {
			n, ok := a.(*net.IPNet)
			return ok && n.IP.Equal(ip)
		})
	})
}

func (h *Handler) msgReplSetGetConfig(ctx context.Context, _ *wire.OpMsg) (*wire.OpMsg, error) {
	config := h.replicaSetConfig(ctx)
	if config == nil {
		return nil, handlererrors.NewCommandErrorMsg(errNotYetInitialized, "no replset config has been received")
	}

	return documentOpMsg(must.NotFail(types.NewDocument("config", config, "ok", float64(1))))
}

func (h *Handler) msgReplSetReconfig(context.Context, *wire.OpMsg) (*wire.OpMsg, error) {
	return nil, handlererrors.NewCommandErrorMsg(
		errInvalidReplicaSetConfig, "FerretDB stands in for MongoDB here, and its sets have one member: set mongoMembers to 1",
	)
}

// msgServerStatusWithConnections adds how many clients are connected, which FerretDB does not tell.
func (h *Handler) msgServerStatusWithConnections(ctx context.Context, msg *wire.OpMsg) (*wire.OpMsg, error) {
	reply, err := h.MsgServerStatus(ctx, msg)
	if err != nil {
		return nil, err
	}

	res := must.NotFail(opMsgDocument(reply))
	res.Set("connections", must.NotFail(types.NewDocument("current", openConnections(h.TCPHost))))

	return documentOpMsg(res)
}

// openConnections counts the established connections to the port of an address, as the kernel lists them.
func openConnections(address string) int32 {
	_, name, _ := net.SplitHostPort(address)
	port, _ := net.LookupPort("tcp", name)
	local := fmt.Sprintf(":%04X", port)

	var count int32

	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		content, _ := os.ReadFile(table)
		for _, line := range strings.Split(string(content), "\n") {
			fields := strings.Fields(line)
			if len(fields) > 3 && strings.HasSuffix(fields[1], local) && fields[3] == "01" {
				count++
			}
		}
	}

	return count
}

func (h *Handler) msgReplSetGetStatus(ctx context.Context, _ *wire.OpMsg) (*wire.OpMsg, error) {
	config := h.replicaSetConfig(ctx)
	if config == nil {
		return nil, handlererrors.NewCommandErrorMsg(errNotYetInitialized, "no replset config has been received")
	}

	member := must.NotFail(types.NewDocument(
		"_id", int32(0), "name", must.NotFail(memberHost(config)), "health", float64(1),
		"state", int32(1), "stateStr", "PRIMARY", "self", true,
	))

	return documentOpMsg(must.NotFail(types.NewDocument(
		"set", h.ReplSetName, "myState", int32(1),
		"members", must.NotFail(types.NewArray(member)), "ok", float64(1),
	)))
}

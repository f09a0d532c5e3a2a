import "@pulumi/aws";
import "@pulumi/pulumi";
